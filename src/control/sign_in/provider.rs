//! The provider that vouches for people (OpenID Connect, authorization code with PKCE): where it sends them, and what its
//! word is worth when they come back. Who of them is known here is not decided here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod,
    CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AdditionalClaims, AuthType, AuthorizationCode, ClaimsVerificationError, Client, ClientId,
    ClientSecret, CsrfToken, DiscoveryError, EmptyExtraTokenFields, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, IdTokenFields, IssuerUrl, Nonce, OAuth2TokenResponse as _,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, SignatureVerificationError,
    StandardClaims, StandardErrorResponse, StandardTokenResponse, TokenResponse as _,
    UserInfoClaims,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::fetch::{Fetch, FetchError};
use crate::config::Oidc;
use crate::keys::rules::Refusal;

/// How long what the provider says of itself is taken for true.
const KNOWN_FOR: Duration = Duration::from_hours(1);

/// How often it is asked at most when it does not answer, or signs with a key that is not known.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// The ways to sign that only the provider can: none of them works with a secret that others have, too.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Claims that the standard does not name.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct OwnClaims {
    #[serde(flatten)]
    named: HashMap<String, serde_json::Value>,
}

impl AdditionalClaims for OwnClaims {}

type Fields = IdTokenFields<
    OwnClaims,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

type ProviderClient = Client<
    OwnClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    StandardTokenResponse<Fields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// What the browser keeps while its user is at the provider's.
pub struct Errand {
    /// What the provider gives back, so that the answer is to this question.
    pub state: String,
    /// What must be in the provider's word.
    pub nonce: String,
    /// What proves that whoever asked is who gets the answer.
    pub verifier: String,
}

/// The provider.
pub struct Provider {
    config: Oidc,
    redirect: String,
    fetch: Fetch,
    known: Mutex<Known>,
}

/// What is known of it.
#[derive(Default)]
struct Known {
    client: Option<(ProviderClient, Instant)>,
    asked: Option<Instant>,
}

fn failed(at: &'static str) -> Refusal {
    Refusal::ProviderFailed { at }
}

impl Provider {
    /// The provider of a configuration, if it names one. People come back to this address.
    ///
    /// # Errors
    /// A sentence that says what is wrong with its authorities.
    pub fn new(config: &Oidc, redirect: String) -> Result<Option<Self>, String> {
        if config.issuer.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            fetch: Fetch::new(config.ca_file.as_deref())?,
            config: config.clone(),
            redirect,
            known: Mutex::default(),
        }))
    }

    /// Where somebody is sent to be vouched for, and what their browser keeps meanwhile.
    ///
    /// # Errors
    /// When the provider does not say how it is asked.
    pub async fn ask(&self) -> Result<(String, Errand), Refusal> {
        let client = self.client(KNOWN_FOR).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state, nonce) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .add_scope(Scope::new("email".to_owned()))
            .add_scope(Scope::new("profile".to_owned()))
            .set_pkce_challenge(challenge)
            .url();
        let errand = Errand {
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.secret().clone(),
        };
        Ok((url.into(), errand))
    }

    /// The login name that the provider vouches for, in return for the code that it gave.
    ///
    /// # Errors
    /// When it does not, or its word does not hold.
    pub async fn answer(&self, code: String, errand: Errand) -> Result<String, Refusal> {
        let client = self.client(KNOWN_FOR).await?;
        let exchange = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|_| failed("no address for codes"))?
            .set_pkce_verifier(PkceCodeVerifier::new(errand.verifier));
        let answer = exchange.request_async(&self.fetch).await;
        let answer = answer.map_err(|_| failed("the code was not taken"))?;
        let token = answer.id_token().ok_or(failed("no ID token"))?;

        let nonce = Nonce::new(errand.nonce);
        let verifier = client.id_token_verifier().set_allowed_algs(ALGORITHMS);
        let fresh;
        let claims = match token.claims(&verifier, &nonce) {
            // The provider may have begun to sign with another key.
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            )) => {
                fresh = self.client(ASK_EVERY).await?;
                let verifier = fresh.id_token_verifier().set_allowed_algs(ALGORITHMS);
                token.claims(&verifier, &nonce)
            }
            claims => claims,
        };
        let claims = claims.map_err(|_| failed("the ID token does not hold"))?;
        let (wanted, subject) = (self.config.handle_claim.as_str(), claims.subject().clone());
        let in_token = Claims {
            subject: subject.as_str(),
            email: claims.email().map(|email| email.as_str()),
            email_verified: claims.email_verified(),
            preferred_username: claims.preferred_username().map(|name| name.as_str()),
            own: claims.additional_claims(),
        };
        match in_token.named(wanted) {
            Err(Missing) => {}
            Ok(handle) => return handle,
        }

        // A provider may say in the token only who it is, and the rest when it is asked.
        let ask = client.user_info(answer.access_token().clone(), Some(subject));
        let ask = ask.map_err(|_| failed("the claim is missing"))?;
        let said: UserInfoClaims<OwnClaims, CoreGenderClaim> = ask
            .request_async(&self.fetch)
            .await
            .map_err(|_| failed("no answer about the user"))?;
        let standard: &StandardClaims<CoreGenderClaim> = said.standard_claims();
        let said = Claims {
            subject: said.subject().as_str(),
            email: standard.email().map(|email| email.as_str()),
            email_verified: standard.email_verified(),
            preferred_username: standard.preferred_username().map(|name| name.as_str()),
            own: said.additional_claims(),
        };
        match said.named(wanted) {
            Err(Missing) => Err(failed("the claim is missing")),
            Ok(handle) => handle,
        }
    }

    /// The client, from what the provider said of itself within this time.
    async fn client(&self, within: Duration) -> Result<ProviderClient, Refusal> {
        let mut known = self.known.lock().await;
        if let Some((client, since)) = &known.client
            && since.elapsed() < within
        {
            return Ok(client.clone());
        }
        let asked_just_now = known.asked.is_some_and(|at| at.elapsed() < ASK_EVERY);
        let asked = if asked_just_now {
            Err(failed("no answer about itself"))
        } else {
            known.asked = Some(Instant::now());
            self.discover().await
        };
        match (asked, &known.client) {
            (Ok(client), _) => {
                known.client = Some((client.clone(), Instant::now()));
                known.asked = None;
                Ok(client)
            }
            // What it said before may still be true; if it is not, the next step fails.
            (Err(_), Some((client, _))) => Ok(client.clone()),
            (Err(refusal), None) => Err(refusal),
        }
    }

    async fn discover(&self) -> Result<ProviderClient, Refusal> {
        let at = "no answer about itself";
        let (Some(issuer), Some(id)) = (&self.config.issuer, &self.config.client_id) else {
            return Err(failed(at));
        };
        let as_written = issuer.to_string();
        // An issuer may call itself with a slash at the end, which a URL in the configuration does not have.
        let with_slash = format!("{as_written}/");
        let mut found = Err(failed(at));
        for name in [as_written, with_slash] {
            let name = IssuerUrl::new(name).map_err(|_| failed(at))?;
            match CoreProviderMetadata::discover_async(name, &self.fetch).await {
                Ok(metadata) => {
                    found = Ok(metadata);
                    break;
                }
                Err(DiscoveryError::<FetchError>::Validation(_)) => {}
                Err(_) => break,
            }
        }
        let metadata = found?;
        let secret = self.config.client_secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.expose().to_owned()));
        let takes = metadata.token_endpoint_auth_methods_supported();
        let takes = |method| takes.is_some_and(|methods| methods.contains(&method));
        let by_body = takes(CoreClientAuthMethod::ClientSecretPost)
            && !takes(CoreClientAuthMethod::ClientSecretBasic);
        let redirect = RedirectUrl::new(self.redirect.clone());
        let client =
            ProviderClient::from_provider_metadata(metadata, ClientId::new(id.clone()), secret)
                .set_redirect_uri(redirect.map_err(|_| failed("no address to come back to"))?);
        Ok(if by_body {
            client.set_auth_type(AuthType::RequestBody)
        } else {
            client
        })
    }
}

/// There is no such claim.
struct Missing;

/// What the provider says of somebody.
struct Claims<'c> {
    subject: &'c str,
    email: Option<&'c str>,
    email_verified: Option<bool>,
    preferred_username: Option<&'c str>,
    own: &'c OwnClaims,
}

impl Claims<'_> {
    /// The claim of this name, if it can be believed.
    fn named(&self, name: &str) -> Result<Result<String, Refusal>, Missing> {
        let text = match name {
            "sub" => Some(self.subject),
            "preferred_username" => self.preferred_username,
            "email" => self.email,
            name => self.own.named.get(name).and_then(serde_json::Value::as_str),
        };
        let text = text.filter(|text| !text.is_empty()).ok_or(Missing)?;
        // Whoever may write any address into their account at the provider would be anybody here.
        if name == "email" && self.email_verified != Some(true) {
            return Ok(Err(failed("the e-mail address is not verified")));
        }
        Ok(Ok(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_only_when_it_is_verified() {
        let own = OwnClaims {
            named: HashMap::from([("upn".to_owned(), "ann".into()), ("n".to_owned(), 1.into())]),
        };
        let of = |email_verified| Claims {
            subject: "7",
            email: Some("ann@acme.example"),
            email_verified,
            preferred_username: None,
            own: &own,
        };
        let named = |claims: Claims<'_>, name| claims.named(name).ok().map(Result::ok);
        let handle = |text: &str| Some(Some(text.to_owned()));
        assert_eq!(named(of(Some(true)), "email"), handle("ann@acme.example"));
        assert_eq!(named(of(Some(false)), "email"), Some(None));
        assert_eq!(named(of(None), "email"), Some(None));
        assert_eq!(named(of(None), "sub"), handle("7"));
        assert_eq!(named(of(None), "upn"), handle("ann"));
        for missing in ["preferred_username", "n", "nickname"] {
            assert_eq!(named(of(Some(true)), missing), None);
        }
    }
}
