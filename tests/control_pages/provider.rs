//! A provider that says whatever a test wants, signed with what the test wants: the honest one is tests/clients' business.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use hmac::{Hmac, KeyInit, Mac};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const CLIENT: &str = "keygate";
pub const SECRET: &str = "what both know and others might";

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Signed {
    /// As it should be.
    Well,
    /// With a key that is not the provider's.
    WithAnotherKey,
    /// With the client's secret.
    WithTheSecret,
    /// With the public key as if it were a secret.
    WithThePublicKey,
    /// Not at all.
    Not,
}

/// What the provider says at its token's address.
#[derive(Clone)]
pub enum Says {
    /// A token of these claims.
    Token(Value, Signed),
    /// To look elsewhere.
    Elsewhere,
    /// More than anybody wants to read.
    Endless,
    /// Nothing that is JSON.
    Junk,
}

struct Inner {
    issuer: String,
    key: KeyPair,
    other: KeyPair,
    says: Mutex<Option<Says>>,
    user: Mutex<Option<Value>>,
    challenge: Mutex<String>,
    elsewhere: Mutex<u32>,
}

#[derive(Clone)]
pub struct Provider(Arc<Inner>);

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut number = 0;
        for at in 0..3 {
            number = number << 8 | u32::from(*three.get(at).unwrap_or(&0));
        }
        for at in 0..=three.len() {
            let digit = number >> (18 - 6 * at) & 63;
            text.push(char::from(DIGITS[digit as usize]));
        }
    }
    text
}

impl Provider {
    pub async fn start() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = tokio::net::TcpListener::bind(any).await.unwrap();
        let make = || KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let provider = Self(Arc::new(Inner {
            issuer: format!("http://{}", listener.local_addr().unwrap()),
            key: make(),
            other: make(),
            says: Mutex::default(),
            user: Mutex::default(),
            challenge: Mutex::default(),
            elsewhere: Mutex::default(),
        }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(about))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/user", get(user))
            .route("/elsewhere", get(elsewhere).post(elsewhere))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// What it says to the next code, to whoever asked with this challenge.
    pub fn say(&self, says: Says, challenge: &str) {
        *locked(&self.0.says) = Some(says);
        challenge.clone_into(&mut locked(&self.0.challenge));
    }

    /// What it says when it is asked about the user.
    pub fn tell_of_user(&self, user: Value) {
        *locked(&self.0.user) = Some(user);
    }

    /// How often somebody followed it elsewhere.
    pub fn followed(&self) -> u32 {
        *locked(&self.0.elsewhere)
    }

    fn sign(&self, claims: &Value, signed: Signed) -> String {
        let algorithm = match signed {
            Signed::Well | Signed::WithAnotherKey => "EdDSA",
            Signed::WithTheSecret | Signed::WithThePublicKey => "HS256",
            Signed::Not => "none",
        };
        let head = json!({"alg": algorithm, "kid": "1", "typ": "JWT"});
        let content = format!(
            "{}.{}",
            base64(head.to_string().as_bytes()),
            base64(claims.to_string().as_bytes())
        );
        let by_secret = |secret: &[u8]| {
            let mut code = Hmac::<Sha256>::new_from_slice(secret).unwrap();
            code.update(content.as_bytes());
            code.finalize().into_bytes().to_vec()
        };
        let signature = match signed {
            Signed::Well => self.0.key.sign(content.as_bytes()).unwrap(),
            Signed::WithAnotherKey => self.0.other.sign(content.as_bytes()).unwrap(),
            Signed::WithTheSecret => by_secret(SECRET.as_bytes()),
            Signed::WithThePublicKey => by_secret(self.0.key.der_bytes()),
            Signed::Not => Vec::new(),
        };
        format!("{content}.{}", base64(&signature))
    }
}

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn about(State(provider): State<Provider>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", provider.0.issuer);
    Json(json!({
        "issuer": provider.0.issuer,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "userinfo_endpoint": at("/user"),
        "jwks_uri": at("/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        // It says that it would also sign badly: that is not for it to decide.
        "id_token_signing_alg_values_supported": ["EdDSA", "HS256", "none"],
    }))
}

async fn keys(State(provider): State<Provider>) -> Json<Value> {
    let public = base64(provider.0.key.der_bytes());
    Json(json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "x": public, "kid": "1", "alg": "EdDSA", "use": "sig"},
    ]}))
}

async fn token(
    State(provider): State<Provider>,
    headers: HeaderMap,
    Form(form): Form<std::collections::BTreeMap<String, String>>,
) -> Response {
    let challenge = base64(&Sha256::digest(form["code_verifier"].as_bytes()));
    let is_client = headers
        .get("authorization")
        .is_some_and(|value| value.as_bytes().starts_with(b"Basic "));
    if challenge != *locked(&provider.0.challenge) || !is_client || form["code"] != "the code" {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_grant"})),
        )
            .into_response();
    }
    match locked(&provider.0.says).take() {
        Some(Says::Token(claims, signed)) => Json(json!({
            "access_token": "for the user's address",
            "token_type": "Bearer",
            "id_token": provider.sign(&claims, signed),
        }))
        .into_response(),
        Some(Says::Elsewhere) => Redirect::temporary("/elsewhere").into_response(),
        Some(Says::Endless) => "x".repeat(3 << 20).into_response(),
        Some(Says::Junk) => "<html>".into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn user(State(provider): State<Provider>) -> Response {
    match locked(&provider.0.user).clone() {
        Some(user) => Json(user).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn elsewhere(State(provider): State<Provider>) -> StatusCode {
    *locked(&provider.0.elsewhere) += 1;
    StatusCode::OK
}
