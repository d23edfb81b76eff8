//! Bank accounts in the single euro payments area: IBAN (ISO 13616) and BIC (ISO 9362).

use iban::{Iban, IbanLike};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// Countries and territories whose accounts SEPA credit transfers reach, by the IBAN's first letters:
/// EPC409-09, "List of SEPA Scheme Countries".
const SEPA: &str = "AD AL AT BE BG CH CY CZ DE DK EE ES FI FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU \
    LV MC MD ME MK MT NL NO PL PT RO RS SE SI SK SM VA";

/// Why an account cannot be paid to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountFault {
    /// A typing error, as a rule.
    #[error(
        "this is no IBAN: its check digits or its length are wrong; copy it from a bank statement"
    )]
    Iban,
    /// The account is elsewhere.
    #[error(
        "accounts of country {0} are not reached by SEPA transfers; pay this one in another way"
    )]
    NotSepa(String),
    /// The bank's code is malformed.
    #[error("this is no BIC; it has 8 or 11 letters and digits, such as COBADEFFXXX")]
    Bic,
    /// The bank is in another country than the account.
    #[error("the BIC's country {bic} is not the IBAN's {iban}; one of them is wrong")]
    Countries {
        /// Of the bank.
        bic: String,
        /// Of the account.
        iban: String,
    },
}

/// An IBAN with right check digits (ISO 7064 mod 97-10), of the form that its country has, in SEPA.
/// Shown to people as its last four characters only.
#[derive(Clone, PartialEq, Eq)]
pub struct SepaIban(String);

impl SepaIban {
    /// As it is sent: capitals, no blanks.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// ISO 3166-1 alpha-2.
    #[must_use]
    pub fn country(&self) -> &str {
        &self.0[..2]
    }

    /// `DE…3000`: enough to know it again.
    #[must_use]
    pub fn masked(&self) -> String {
        format!("{}…{}", self.country(), &self.0[self.0.len() - 4..])
    }
}

impl FromStr for SepaIban {
    type Err = AccountFault;

    fn from_str(written: &str) -> Result<Self, AccountFault> {
        let plain: String = written.chars().filter(|c| !c.is_whitespace()).collect();
        if plain.len() > 34 || !plain.is_ascii() {
            return Err(AccountFault::Iban);
        }
        let iban: Iban = plain.to_ascii_uppercase().parse().map_err(|_| AccountFault::Iban)?;
        let country = iban.country_code();
        if !SEPA.split(' ').any(|c| c == country) {
            return Err(AccountFault::NotSepa(country.to_owned()));
        }
        Ok(Self(iban.electronic_str().to_owned()))
    }
}

impl fmt::Debug for SepaIban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Serialize for SepaIban {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SepaIban {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A bank's code: `[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?`, the pattern of `BICFIDec2014Identifier`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bic(String);

impl Bic {
    /// In capitals.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it can be the bank of this account. Territories with codes of their own bank under the
    /// code of the state that they belong to.
    ///
    /// # Errors
    /// [`AccountFault::Countries`].
    pub fn fits(&self, iban: &SepaIban) -> Result<(), AccountFault> {
        let (bic, own) = (&self.0[4..6], iban.country());
        let same = match own {
            "GB" => matches!(bic, "GB" | "GG" | "IM" | "JE"),
            "GG" | "IM" | "JE" => bic == "GB" || bic == own,
            "FR" => matches!(bic, "FR" | "BL" | "GF" | "GP" | "MF" | "MQ" | "PM" | "RE" | "YT"),
            _ => bic == own,
        };
        if same {
            return Ok(());
        }
        Err(AccountFault::Countries { bic: bic.to_owned(), iban: own.to_owned() })
    }
}

impl FromStr for Bic {
    type Err = AccountFault;

    fn from_str(written: &str) -> Result<Self, AccountFault> {
        let code = written.trim().to_ascii_uppercase();
        let bytes = code.as_bytes();
        let fits = matches!(bytes.len(), 8 | 11)
            && bytes.iter().all(u8::is_ascii_alphanumeric)
            && bytes[4..6].iter().all(u8::is_ascii_alphabetic);
        if fits { Ok(Self(code)) } else { Err(AccountFault::Bic) }
    }
}

impl<'de> Deserialize<'de> for Bic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
