//! Signing in with the role that the machine has, where no access key is set: an instance's, a task's, that
//! of a service account in Kubernetes.
//!
//! The order is that of every AWS SDK (AWS SDKs and Tools Reference Guide, "Standardized credential
//! providers"): `AWS_*` of the environment, the profile of `~/.aws`, the web identity's token, the container's
//! endpoint, the instance's metadata service. Keys are fetched when they are first needed and again before
//! they lapse.

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_s3::config::{Region, SharedHttpClient};
use tokio::sync::OnceCell;

/// Where keys come from if none are set. Asks nobody before it is asked itself.
#[derive(Debug)]
pub(super) struct MachineRole {
    http: SharedHttpClient,
    region: Region,
    chain: OnceCell<DefaultCredentialsChain>,
}

impl MachineRole {
    /// `region` is where a web identity's token is exchanged.
    pub(super) fn new(http: SharedHttpClient, region: Region) -> Self {
        Self { http, region, chain: OnceCell::new() }
    }

    async fn chain(&self) -> &DefaultCredentialsChain {
        self.chain
            .get_or_init(|| {
                let config = ProviderConfig::without_region().with_http_client(self.http.clone());
                DefaultCredentialsChain::builder()
                    .configure(config)
                    .region(self.region.clone())
                    .build()
            })
            .await
    }
}

impl ProvideCredentials for MachineRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(
            async move { self.chain().await.provide_credentials().await },
        )
    }
}
