//! The knobs of the control listener: the pages, the key management API, and signing in.

use super::knob::readable;
use super::mode::{default, optional, section};
use super::secret::{SecretValue, secret};
use super::spelling;
use super::url::UpstreamUrl;
use super::value::{positive, words};
use std::net::SocketAddr;
use std::time::Duration;

words! {
    /// Whether something is there.
    pub enum Switch {
        /// It is.
        On = "on",
        /// It is not.
        Off = "off",
    }
}

impl Control {
    /// Whether there is a control listener.
    pub fn is_on(&self) -> bool {
        self.listener == Switch::On
    }
}

readable! {
    /// The pages on which people make and revoke keys, and the key management API. Both ask who somebody is. The API is also
    /// reached through the address of [listen], where SDKs look for it.
    pub struct Control
    knobs {
        /// Whether there are any. Without them, requests of the key management API go to the upstream "api".
        listener: Switch = default(Switch::On),
        /// The address and port of the pages and the API.
        address: SocketAddr = default(SocketAddr::from(([127, 0, 0, 1], 8082))),
        /// What people reach the pages by, when it is not that address: that of the proxy in front, which ends TLS. With
        /// https:// the session's cookie is sent over TLS only.
        url: Option<UpstreamUrl> = optional("https://keygate.example.com"),
        /// How long a session lasts at most.
        session_lifetime: Duration = default(Duration::from_hours(12)).checked(positive),
        /// How long a session lasts in which nothing is done.
        session_idle: Duration = default(Duration::from_hours(1)).checked(positive),
        /// How long a one-time sign-in link can be used.
        link_lifetime: Duration = default(Duration::from_hours(24)).checked(positive),
        /// How often somebody may try to sign in as one user per minute, from one address (of IPv6: a /64). As any user
        /// together one address may six times as often. Others' tries do not count: nobody is locked out by a stranger.
        sign_in_attempts: u32 = default(10).checked(positive),
        /// Orgs whose admins also see the nodes of the fleet: those of whoever runs it.
        operator_orgs: Vec<String> = default(vec!["default".to_owned()]),
        /// `[control.oidc]`
        oidc: Oidc = section(Oidc::with_defaults),
    }
}

readable! {
    /// Signing in by the word of an OpenID Connect provider, beside passwords. A user must be known here already: the claim
    /// tells which.
    pub struct Oidc
    knobs {
        /// The provider, as its tokens call it.
        issuer: Option<UpstreamUrl> = optional("https://login.example.com"),
        /// What the provider calls keygate.
        client_id: Option<String> = optional("keygate").checked(spelling::plain_name),
        /// What keygate proves itself to the provider with.
        client_secret: Option<SecretValue> = secret("/run/secrets/keygate-oidc", spelling::credential),
        /// The org of those who sign in so.
        org: String = default("default".to_owned()),
        /// The claim that is a user's login name. "email" counts only when the provider says that it is verified.
        handle_claim: String = default("email".to_owned()).checked(spelling::plain_name),
        /// Certificates in PEM of the authorities that may vouch for the provider, instead of the system's.
        ca_file: Option<std::path::PathBuf> = optional("/etc/keygate/oidc-ca.pem"),
    }
}
