//! The options of authentication, and what they come to once they are checked to fit together.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use http::Uri;

use super::keys::{BadKey, Keys};
use crate::values::Secret;

/// Who may connect, and see what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuthKind {
    /// Everybody sees every fleet.
    None,
    /// Whoever brings a token sees the fleets that it grants.
    Jwt,
}

/// Authentication.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Authentication")]
pub struct AuthOptions {
    /// Who may connect; required.
    #[arg(long, env = "FLEETCAST_AUTH")]
    pub auth: Option<AuthKind>,
    /// Shared secret of tokens signed with HS256, HS384 or HS512
    #[arg(long, env = "FLEETCAST_JWT_SECRET", value_name = "SECRET")]
    pub jwt_secret: Option<Secret>,
    /// Public key in PEM of tokens signed with RS, PS, ES or `EdDSA` algorithms; several, one after the other
    #[arg(long, env = "FLEETCAST_JWT_PUBLIC_KEY", value_name = "PEM")]
    pub jwt_public_key: Option<Secret>,
    /// Where the issuer publishes its keys as a JSON Web Key Set
    #[arg(long, env = "FLEETCAST_JWKS_URL", value_name = "URL")]
    pub jwks_url: Option<Uri>,
    /// Certificates in PEM that the server of the key set is trusted by, instead of the public ones
    #[arg(long, env = "FLEETCAST_JWKS_CA", value_name = "FILE")]
    pub jwks_ca: Option<PathBuf>,
    /// The only `iss` that tokens may have [default: any]
    #[arg(long, env = "FLEETCAST_JWT_ISSUER", value_name = "TEXT")]
    pub jwt_issuer: Option<String>,
    /// The `aud` that tokens must have, or several separated by commas, of which they must have one
    /// [default: any]
    #[arg(long, env = "FLEETCAST_JWT_AUDIENCE", value_name = "TEXT", value_delimiter = ',')]
    pub jwt_audience: Vec<String>,
    /// The claim that lists a viewer's fleets, or `"*"` for all; a JSON Pointer if it begins with `/`
    #[arg(long, env = "FLEETCAST_JWT_FLEETS_CLAIM", value_name = "NAME", default_value = "fleets")]
    pub jwt_fleets_claim: String,
}

/// How viewers are authenticated.
#[derive(Debug, Clone)]
pub enum AuthSettings {
    /// Not at all.
    None,
    /// By token.
    Jwt(JwtSettings),
}

/// What a token must be.
#[derive(Debug, Clone)]
pub struct JwtSettings {
    pub(super) keys: KeySource,
    pub(super) issuer: Option<String>,
    pub(super) audience: Vec<String>,
    pub(super) fleets_claim: String,
}

/// Where keys come from.
#[derive(Debug, Clone)]
pub(super) enum KeySource {
    Secret(Secret, Option<PathBuf>),
    PublicKey(Secret, Option<PathBuf>),
    KeySet { url: Uri, ca: Option<PathBuf> },
}

impl AuthSettings {
    /// As the page is told.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Jwt(_) => "jwt",
        }
    }
}

impl AuthOptions {
    /// Checks that the options fit together. `file_of`: the file that a secret's variable was read from.
    ///
    /// # Errors
    /// One line that names the option.
    pub fn settings(self, file_of: impl Fn(&str) -> Option<PathBuf>) -> Result<AuthSettings, String> {
        let keys = [
            self.jwt_secret.map(|key| KeySource::Secret(key, file_of("FLEETCAST_JWT_SECRET"))),
            self.jwt_public_key.map(|key| KeySource::PublicKey(key, file_of("FLEETCAST_JWT_PUBLIC_KEY"))),
            self.jwks_url.map(|url| KeySource::KeySet { url, ca: self.jwks_ca }),
        ];
        let mut keys = keys.into_iter().flatten();
        let (key, other) = (keys.next(), keys.next());
        match self.auth {
            None => Err("FLEETCAST_AUTH (--auth) is required: jwt, or none, which lets everybody see every \
                         fleet"
                .to_owned()),
            // Somebody who configured keys wants them to count.
            Some(AuthKind::None) if key.is_some() => {
                Err("FLEETCAST_AUTH (--auth) is none, but keys for tokens are given".to_owned())
            }
            Some(AuthKind::None) => Ok(AuthSettings::None),
            Some(AuthKind::Jwt) => {
                let (Some(keys), None) = (key, other) else {
                    return Err("FLEETCAST_AUTH=jwt needs one of FLEETCAST_JWT_SECRET, \
                                FLEETCAST_JWT_PUBLIC_KEY and FLEETCAST_JWKS_URL"
                        .to_owned());
                };
                keys.check()?;
                Ok(AuthSettings::Jwt(JwtSettings {
                    keys,
                    issuer: self.jwt_issuer,
                    audience: self.jwt_audience,
                    fleets_claim: self.jwt_fleets_claim,
                }))
            }
        }
    }
}

impl KeySource {
    fn check(&self) -> Result<(), String> {
        let Self::KeySet { url, .. } = self else {
            return self.configured().map(|_| ()).map_err(|error| format!("{}: {error}", self.name()));
        };
        let is_http = matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
        let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if !is_http || has_user {
            return Err(format!("{}: not a URL such as https://issuer.example/keys", self.name()));
        }
        Ok(())
    }

    /// The keys as they were configured; of a key set none, since it has to be fetched.
    pub(super) fn configured(&self) -> Result<Keys, BadKey> {
        match self {
            Self::Secret(secret, _) => Keys::from_secret(secret.expose()),
            Self::PublicKey(pem, _) => Keys::from_pem(pem.expose()),
            Self::KeySet { .. } => Ok(Keys::default()),
        }
    }

    /// The file to look into when keys are to be read again.
    pub(super) fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Secret(_, file) | Self::PublicKey(_, file) => file.as_ref(),
            Self::KeySet { .. } => None,
        }
    }

    /// The same with another text.
    pub(super) fn with_text(&self, text: &str) -> Result<Keys, BadKey> {
        match self {
            Self::Secret(..) => Keys::from_secret(text.trim_end()),
            Self::PublicKey(..) => Keys::from_pem(text),
            Self::KeySet { .. } => Ok(Keys::default()),
        }
    }

    /// The option that it was given by.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Secret(..) => "FLEETCAST_JWT_SECRET (--jwt-secret)",
            Self::PublicKey(..) => "FLEETCAST_JWT_PUBLIC_KEY (--jwt-public-key)",
            Self::KeySet { .. } => "FLEETCAST_JWKS_URL (--jwks-url)",
        }
    }
}
