//! The OpenAPI document of the key management API, from the same list as its routes.

use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder, SecurityRequirement};

use super::answers::Errors;

/// Where it is served, to everybody.
pub(super) const PATH: &str = "/api/v2/openapi.json";

/// What every refusal can be.
const REFUSALS: [(&str, &str); 7] = [
    ("400", "A rule says no; the sentence says what to do"),
    ("401", "There is no application key"),
    (
        "403",
        "There is no API key, the pair of keys is no good, or its owner may not",
    ),
    ("404", "Nothing of the org has this id"),
    ("409", "It is there already"),
    (
        "422",
        "The Idempotency-Key was sent with another request, or the id is not that of the path",
    ),
    (
        "503",
        "The store cannot be asked now: send the request again",
    ),
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "keygate",
        description = "The key management API: compatible with Datadog's clients, and what keygate has beside it. Every \
            answer has an X-Request-ID, every write an X-Audit-ID. POST requests that make something take an \
            Idempotency-Key."
    ),
    components(schemas(Errors))
)]
struct Head;

/// What stands before the paths.
pub(super) fn head() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

/// Adds what is the same everywhere: the two keys, and the refusals.
pub(super) fn complete(document: &mut utoipa::openapi::OpenApi) {
    let components = document.components.get_or_insert_default();
    let mut both = SecurityRequirement::default();
    for (name, header) in [
        ("apiKeyAuth", "DD-API-KEY"),
        ("appKeyAuth", "DD-APPLICATION-KEY"),
    ] {
        let scheme = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(header)));
        components.add_security_scheme(name, scheme);
        both = both.add::<_, [String; 0], String>(name, []);
    }
    document.security = Some(vec![both]);
    for path in document.paths.paths.values_mut() {
        let operations = [
            &mut path.get,
            &mut path.post,
            &mut path.patch,
            &mut path.delete,
        ];
        for operation in operations.into_iter().flatten() {
            refusals(operation);
        }
    }
}

fn refusals(operation: &mut Operation) {
    for (status, description) in REFUSALS {
        let errors = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Errors")))
            .build();
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/json", errors)
            .build();
        let responses = &mut operation.responses.responses;
        responses
            .entry(status.to_owned())
            .or_insert_with(|| response.into());
    }
}
