//! Keys: made, read, and never shown.

use crate::kit::kit;
use secrecy::{ExposeSecret, SecretString};
use switchyard_backup::format::write_object;
use switchyard_backup::keys::{
    Identity, Recipient, Signer, Verifier, open_passphrase, seal_passphrase,
};
use switchyard_backup::{BackupFault, Keys, Shelf, Vault};

#[test]
fn keys_are_read_as_they_are_shown() {
    let identity = Identity::generate();
    let file = format!(
        "# created: today\n# public key: {}\n{}\n\n",
        identity.recipient(),
        identity.reveal().expose_secret()
    );
    let read = Identity::parse_all(&file.into()).unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].recipient(), identity.recipient());
    let recipient: Recipient = format!(" {}\n", identity.recipient()).parse().unwrap();
    assert_eq!(recipient, identity.recipient());
    let signer = Signer::generate();
    assert_eq!(Signer::parse(&signer.reveal()).unwrap().public(), signer.public());
    assert_eq!(signer.public().to_string().parse::<Verifier>().unwrap(), signer.public());
    assert_ne!(Signer::generate().public(), signer.public());
}

#[test]
fn what_is_no_key_is_refused_without_being_repeated() {
    let identity = Identity::generate();
    let secret = identity.reveal();
    let spoilt = format!("{}x", secret.expose_secret());
    let signing = Signer::generate().reveal();
    let cut: SecretString = signing.expose_secret()[..50].into();
    let faults: Vec<BackupFault> = vec![
        secret.expose_secret().parse::<Recipient>().unwrap_err(),
        "age1nothing".parse::<Recipient>().unwrap_err(),
        signing.expose_secret().parse::<Recipient>().unwrap_err(),
        Identity::parse_all(&spoilt.clone().into()).unwrap_err(),
        Identity::parse_all(&"# nothing\n".into()).unwrap_err(),
        Signer::parse(&cut).unwrap_err(),
        Signer::parse(&secret).unwrap_err(),
        signing.expose_secret().parse::<Verifier>().unwrap_err(),
        "AAAA".parse::<Verifier>().unwrap_err(),
    ];
    for fault in faults {
        let told = format!("{fault} {fault:?}");
        assert!(matches!(fault, BackupFault::Key { .. }), "{told}");
        assert!(
            !told.contains("AGE-SECRET-KEY-1") || told.contains("AGE-SECRET-KEY-1..."),
            "{told}"
        );
        for hidden in [secret.expose_secret(), &signing.expose_secret()[30..]] {
            assert!(!told.contains(&hidden[..30]), "{told}");
        }
    }
}

#[test]
fn nothing_that_is_printed_shows_a_key() {
    let kit = kit();
    let told = format!("{:?} {:?} {:?}", kit.vault, kit.identity, kit.signer);
    assert!(!told.contains("AGE-SECRET-KEY") && !told.contains("SWITCHYARD-SIGNING-KEY"), "{told}");
    let bytes = kit.signer.reveal().expose_secret().split_once(':').unwrap().1.to_owned();
    assert!(!told.contains(&bytes), "{told}");
}

#[tokio::test]
async fn without_a_key_nothing_is_written_or_trusted() {
    let kit = kit();
    let bare = kit.with(Keys::new());
    let told = write_object(&bare, "full/x", bytes::Bytes::new()).await.unwrap_err().to_string();
    assert!(told.contains("nobody could read the backup"), "{told}");
    let told = Shelf::load(&bare).await.unwrap_err().to_string();
    assert!(told.contains("set the public key of the signatures"), "{told}");
    let unsigned = kit.with(Keys::new().recipients([kit.identity.recipient()]));
    let sealed = switchyard_backup::format::put_manifest(&unsigned, &crate::kit::full(0, 1)).await;
    assert!(sealed.unwrap_err().to_string().contains("no signing key is set"));
}

#[tokio::test]
async fn a_passphrase_opens_what_was_sealed_for_its_identity() {
    let kit = kit();
    let passphrase = SecretString::from("correct horse battery staple");
    let short = seal_passphrase(&kit.vault, "too short".into()).await.unwrap_err();
    assert!(short.to_string().contains("12 characters"), "{short}");
    let recipient = seal_passphrase(&kit.vault, passphrase.clone()).await.unwrap();
    // One that is there is not replaced: files are sealed for it.
    assert!(seal_passphrase(&kit.vault, passphrase.clone()).await.is_err());
    let identity = open_passphrase(&kit.vault, passphrase).await.unwrap();
    assert_eq!(identity.recipient(), recipient);
    let wrong = open_passphrase(&kit.vault, "incorrect horse battery".into()).await.unwrap_err();
    assert!(wrong.to_string().contains("the passphrase does not open"), "{wrong}");
}

#[tokio::test]
async fn after_a_change_of_the_signing_key_both_are_trusted_if_both_are_named() {
    let kit = kit();
    let first = crate::kit::full(0, 1);
    switchyard_backup::format::put_manifest(&kit.vault, &first).await.unwrap();
    let new = Signer::generate();
    let writer: Vault = kit.with(Keys::new().signing(new.clone()));
    switchyard_backup::format::put_manifest(&writer, &crate::kit::full(10, 2)).await.unwrap();
    assert_eq!(Shelf::load(&writer).await.unwrap().all().len(), 1);
    let both = kit.with(Keys::new().trusting([kit.signer.public(), new.public()]));
    assert_eq!(Shelf::load(&both).await.unwrap().all().len(), 2);
}
