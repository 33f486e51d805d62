//! The sentences of refusals in French.

use crate::keys::KeyKind;
use crate::keys::rules::{self, NAME_CHARS_MAX, PLACES_MAX, SCOPES_MAX, Within};

use super::Refusal;

pub(super) fn sentence(refusal: &Refusal) -> String {
    match refusal {
            Refusal::NameBlank => "un nom ne peut pas être vide : donnez-en un de 1 à 256 caractères".to_owned(),
            Refusal::NameTooLong => format!("un nom a au plus {NAME_CHARS_MAX} caractères : donnez-en un plus court"),
            Refusal::NameHasControlCharacter => {
                "un nom ne peut pas contenir de caractères de contrôle tels que des sauts de ligne : retirez-les".to_owned()
            }
            Refusal::NameTaken { what, within, name } => format!(
                "{} déjà {} nommé(e) « {name} » : choisissez un autre nom",
                match *within {
                    "org" => "l'organisation a",
                    "user" => "l'utilisateur a",
                    _ => "l'installation a",
                },
                noun_fr(what)
            ),
            Refusal::TooMany { kind, most } => format!(
                "{} a au plus {most} {} : révoquez-en d'abord une qui ne sert plus",
                match rules::of(*kind).within {
                    Within::Org => "une organisation",
                    Within::Owner => "un utilisateur",
                },
                kinds_fr(*kind)
            ),
            Refusal::TooFew { kind, fewest } => format!(
                "une organisation garde au moins {fewest} {} : créez-en d'abord une autre et faites-y passer ses émetteurs",
                if *fewest == 1 { kind_fr(*kind) } else { kinds_fr(*kind) }
            ),
            Refusal::AlreadyRevoked { kind } => {
                format!("cette clé ({}) est déjà révoquée : il n'y a plus rien à y changer", kind_fr(*kind))
            }
            Refusal::OwnerDisabled => {
                "cet utilisateur est désactivé et ne peut recevoir ni clés ni liens : réactivez-le d'abord".to_owned()
            }
            Refusal::OrgDisabled => {
                "cette organisation est désactivée et ne peut pas être modifiée : réactivez-la d'abord".to_owned()
            }
            Refusal::SecretKnown => {
                "ce secret appartient déjà à une clé, active ou révoquée : utilisez-en un autre".to_owned()
            }
            Refusal::SecretMalformed => {
                "un secret a de 1 à 128 caractères ASCII visibles, sans espaces : donnez-en un tel".to_owned()
            }
            Refusal::OriginMalformed => {
                "une origine est un schéma et un hôte, comme https://shop.example ou https://*.shop.example".to_owned()
            }
            Refusal::ExpiryPast => "cette date d'expiration est passée : donnez-en une à venir".to_owned(),
            Refusal::DateMalformed => "ce n'est pas une date : donnez-en une comme 2030-12-31".to_owned(),
            Refusal::AddressMalformed { given } => format!(
                "« {given} » n'est ni une adresse ni un réseau : donnez par exemple 192.0.2.7, 10.0.0.0/8 ou 2001:db8::/32"
            ),
            Refusal::NotFound { what } => {
                format!("introuvable : {} ; vérifiez l'identifiant", noun_fr(what))
            }
            Refusal::NoRequest { part } => format!(
                "ce n'est pas une requête que HTTP permet : {} ne convient pas",
                noun_fr(part)
            ),
            Refusal::LastAdmin => {
                "une organisation garde au moins un administrateur actif : nommez-en d'abord un autre".to_owned()
            }
            Refusal::NotPermitted { permission } => format!(
                "votre rôle n'a pas la permission {} : demandez à un administrateur de votre organisation",
                permission.as_str()
            ),
            Refusal::ScopeMissing { permission } => format!(
                "la clé d'application utilisée n'a pas la portée {} : utilisez-en une qui l'a",
                permission.as_str()
            ),
            Refusal::ScopesWiden => {
                "la clé d'application utilisée a des portées et ne peut pas en donner d'autres : nommez des portées qu'elle a".to_owned()
            }
            Refusal::OwnerOnly => {
                "une clé d'application est créée par l'utilisateur à qui ses requêtes sont attribuées : demandez-le-lui, ou \
                 utilisez un compte de service"
                    .to_owned()
            }
            Refusal::OperatorOnly => {
                "cela ne peut se faire que sur la machine elle-même : lancez la commande sur le serveur".to_owned()
            }
            Refusal::NodesHidden => {
                "seuls les administrateurs des organisations nommées dans control.operator_orgs voient les nœuds : adressez-vous à \
                 l'exploitant de keygate"
                    .to_owned()
            }
            Refusal::ScopeMalformed => {
                "une portée est le nom d'une permission, comme api_keys_read : minuscules, chiffres et _ seulement".to_owned()
            }
            Refusal::TooManyScopes => format!("une clé a au plus {SCOPES_MAX} portées : donnez-en moins"),
            Refusal::TooManyPlaces => {
            format!("une clé a au plus {PLACES_MAX} adresses ou origines : donnez-en moins, ou des réseaux")
        }
        Refusal::EmailMalformed => "ce n'est pas une adresse e-mail : donnez-en une comme ann@acme.example".to_owned(),
            Refusal::OnceReused => {
                "cette Idempotency-Key a déjà servi pour une autre requête : utilisez-en une nouvelle".to_owned()
            }
            Refusal::PasswordTooShort { least } => {
                format!("un mot de passe a au moins {least} caractères : donnez-en un plus long")
            }
            Refusal::PasswordTooLong { most } => {
                format!("un mot de passe a au plus {most} octets : donnez-en un plus court")
            }
            Refusal::OldPasswordWrong => {
                "ce n'est pas votre mot de passe actuel : saisissez-le à nouveau".to_owned()
            }
            Refusal::PasswordsDiffer => {
                "les deux mots de passe diffèrent : saisissez deux fois le même".to_owned()
            }
            Refusal::SignInFailed => {
                "identifiant ou mot de passe incorrect : vérifiez les deux, indiquez l'organisation si vous avez le même identifiant dans \
                 plusieurs, ou demandez un lien de connexion à un administrateur"
                    .to_owned()
            }
            Refusal::ProviderFailed { at } => format!(
            "votre fournisseur d'identité ne s'est pas porté garant de vous ({at}) : réessayez, ou prévenez un administrateur"
        ),
        Refusal::ProviderUserUnknown => {
            "votre fournisseur d'identité vous connaît, mais aucun utilisateur actif n'a cet identifiant ici : demandez à un administrateur de vous ajouter".to_owned()
        }
        Refusal::TooManyAttempts { seconds } => {
                format!("trop de tentatives de connexion : réessayez dans {seconds} secondes")
            }
            Refusal::LinkSpent => {
                "ce lien a déjà servi, est trop ancien ou n'existe pas : demandez-en un autre à un administrateur, ou créez-en un sur la \
                 machine avec `keygate users link USER`"
                    .to_owned()
            }
            Refusal::NoPerson => {
                "un compte de service ne se connecte pas et n'a pas d'adresse : donnez une personne".to_owned()
            }
            Refusal::NoServiceAccount => "c'est une personne : donnez un compte de service".to_owned(),
            Refusal::Ambiguous { what, name } => format!(
                "plusieurs objets ({}) s'appellent « {name} » : donnez l'identifiant",
                noun_fr(what)
            ),
            Refusal::NotOfKind { what, kind } => {
                format!("{what} : une clé de cette sorte ({}) n'en a pas ; retirez-le", kind_fr(*kind))
            }
            Refusal::BodyMalformed { why } => format!("le corps n'est pas le JSON attendu : {why}"),
            Refusal::ParameterMalformed { name, wanted } => format!("{name} n'a pas cette valeur : donnez {wanted}"),
            Refusal::BodyOfAnother { what, wanted } => {
                format!("« {what} » du corps n'est pas celui du chemin : donnez {wanted}")
            }
            Refusal::OwnerStays => {
                "une clé ne change jamais de propriétaire : créez-en une autre pour cet utilisateur, et révoquez celle-ci".to_owned()
            }
            Refusal::RoleUnknown => {
                "un utilisateur a exactement un rôle : donnez-en un de GET /api/v2/roles".to_owned()
            }
        }
}

const fn kind_fr(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::ApiKey => "clé d'API active",
        KeyKind::ApplicationKey => "clé d'application active",
        KeyKind::ClientToken => "jeton client actif",
    }
}

const fn kinds_fr(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::ApiKey => "clés d'API actives",
        KeyKind::ApplicationKey => "clés d'application actives",
        KeyKind::ClientToken => "jetons clients actifs",
    }
}

fn noun_fr(what: &str) -> &str {
    match what.split(':').next().unwrap_or(what) {
        "org" => "une organisation",
        "user" => "un utilisateur",
        "key" => "une clé",
        "API key" => "une clé d'API",
        "application key" => "une clé d'application",
        "client token" => "un jeton client",
        "service account" => "un compte de service",
        "method" => "la méthode",
        "target" => "l'adresse",
        "headers" => "les en-têtes",
        _ => what,
    }
}
