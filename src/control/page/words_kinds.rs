//! What the pages say of each kind of key: what it is for, what holds for it, what stops when it is revoked. The rules
//! themselves are `keys::rules`'.

use crate::keys::KeyKind;
use crate::keys::refusal::Language;

/// What is said of one kind, in one language.
pub(super) struct KindWords {
    /// Many of them, as a title.
    pub(super) title: &'static str,
    /// The button that makes one.
    pub(super) create: &'static str,
    /// What it is for.
    pub(super) lead: &'static str,
    /// Before a name, in titles.
    pub(super) one: &'static str,
    pub(super) name_hint: &'static str,
    /// What becomes of it when somebody leaves.
    pub(super) leaver: &'static str,
    /// What stops when it is revoked.
    pub(super) breaks: &'static str,
    /// There is none yet.
    pub(super) empty: &'static str,
    pub(super) revoke_title: &'static str,
    pub(super) rotate_title: &'static str,
    pub(super) shadow_title: &'static str,
    /// After it was made.
    pub(super) created: &'static str,
    /// Nothing is what was searched for.
    pub(super) none_found: &'static str,
    /// The link to all of them.
    pub(super) show_every: &'static str,
    /// What its last day means.
    pub(super) expires_hint: &'static str,
    /// Beside the secret.
    pub(super) copy_now: &'static str,
    /// What revoking is.
    pub(super) revoke_for_good: &'static str,
    /// It is revoked.
    pub(super) already_revoked: &'static str,
    /// To whoever may only look.
    pub(super) may_not_change: &'static str,
}

const API_KEY: KindWords = KindWords {
    title: "API keys",
    create: "Create API key",
    lead: "An API key says which org data comes from. Agents and other senders send with it; beside an application key it also reaches the API.",
    one: "API key",
    name_hint: "1 to 256 characters, unique among the active API keys of the org. Say where it is used, as in prod-agents.",
    leaver: "It belongs to the org: it stays valid when whoever made it leaves.",
    breaks: "Agents and other senders with this key are refused (403) and what they send is not accepted. Programs that use it beside an application key can no longer call the API.",
    empty: "There are no API keys yet.",
    revoke_title: "Revoke API key",
    rotate_title: "Rotate API key",
    shadow_title: "Shadow-revoke API key",
    created: "API key created",
    none_found: "No key is like that.",
    show_every: "Show all keys",
    expires_hint: "The key is refused from the end of this day on, in UTC. Leave it empty for a key that does not expire.",
    copy_now: "Copy it now: it is never shown again. keygate does not keep it. If it is lost, create another key.",
    revoke_for_good: "Revoking is for good. The key is refused on every node as soon as each has heard of it, and cannot be revived.",
    already_revoked: "This key is revoked already: nothing of it can be changed.",
    may_not_change: "Your role may look at this key and not change it.",
};

const API_KEY_FR: KindWords = KindWords {
    title: "Clés d'API",
    create: "Créer une clé d'API",
    lead: "Une clé d'API dit de quelle organisation viennent les données. Les agents et autres émetteurs envoient avec elle ; à côté d'une clé d'application, elle atteint aussi l'API.",
    one: "Clé d'API",
    name_hint: "De 1 à 256 caractères, unique parmi les clés d'API actives de l'organisation. Dites où elle sert, par exemple prod-agents.",
    leaver: "Elle appartient à l'organisation : elle reste valable quand la personne qui l'a créée part.",
    breaks: "Les agents et autres émetteurs qui ont cette clé sont refusés (403) et leurs envois ne sont pas acceptés. Les programmes qui l'utilisent à côté d'une clé d'application ne peuvent plus appeler l'API.",
    empty: "Il n'y a pas encore de clé d'API.",
    revoke_title: "Révoquer la clé d'API",
    rotate_title: "Renouveler la clé d'API",
    shadow_title: "Révoquer à blanc la clé d'API",
    created: "Clé d'API créée",
    none_found: "Aucune clé ne correspond.",
    show_every: "Afficher toutes les clés",
    expires_hint: "La clé est refusée à partir de la fin de ce jour, en UTC. Laissez vide pour une clé sans expiration.",
    copy_now: "Copiez-le maintenant : il ne sera plus jamais affiché. keygate ne le conserve pas. S'il est perdu, créez une autre clé.",
    revoke_for_good: "La révocation est définitive. La clé est refusée sur chaque nœud dès qu'il en a connaissance, et ne peut pas être rétablie.",
    already_revoked: "Cette clé est déjà révoquée : plus rien ne peut y être modifié.",
    may_not_change: "Votre rôle permet de voir cette clé, pas de la modifier.",
};

const APPLICATION_KEY: KindWords = KindWords {
    title: "Application keys",
    create: "Create Application Key",
    lead: "An application key, beside an API key of the same org, lets a program call the API as the user who owns it. Every request is logged as that user's.",
    one: "Application key",
    name_hint: "1 to 256 characters, unique among the active application keys of its owner.",
    leaver: "It ends for good when its owner is disabled, and is never moved to somebody else. For programs that outlive people, use a service account.",
    breaks: "Programs that use it can no longer call the API as its owner. What they send with their API key alone still arrives.",
    empty: "There are no application keys yet.",
    revoke_title: "Revoke application key",
    rotate_title: "Rotate application key",
    shadow_title: "Shadow-revoke application key",
    created: "Application key created",
    none_found: "No key is like that.",
    show_every: "Show all keys",
    expires_hint: "The key is refused from the end of this day on, in UTC. Leave it empty for a key that does not expire.",
    copy_now: "Copy it now: it is never shown again. keygate does not keep it. If it is lost, create another key.",
    revoke_for_good: "Revoking is for good. The key is refused on every node as soon as each has heard of it, and cannot be revived.",
    already_revoked: "This key is revoked already: nothing of it can be changed.",
    may_not_change: "Your role may look at this key and not change it.",
};

const APPLICATION_KEY_FR: KindWords = KindWords {
    title: "Clés d'application",
    create: "Créer une clé d'application",
    lead: "Une clé d'application, à côté d'une clé d'API de la même organisation, permet à un programme d'appeler l'API au nom de l'utilisateur à qui elle appartient. Chaque requête est journalisée à son nom.",
    one: "Clé d'application",
    name_hint: "De 1 à 256 caractères, unique parmi les clés d'application actives de son propriétaire.",
    leaver: "Elle prend fin définitivement quand son propriétaire est désactivé, et ne passe jamais à quelqu'un d'autre. Pour des programmes qui survivent aux personnes, prenez un compte de service.",
    breaks: "Les programmes qui l'utilisent ne peuvent plus appeler l'API au nom de son propriétaire. Ce qu'ils envoient avec leur seule clé d'API arrive toujours.",
    empty: "Il n'y a pas encore de clé d'application.",
    revoke_title: "Révoquer la clé d'application",
    rotate_title: "Renouveler la clé d'application",
    shadow_title: "Révoquer à blanc la clé d'application",
    created: "Clé d'application créée",
    none_found: "Aucune clé ne correspond.",
    show_every: "Afficher toutes les clés",
    expires_hint: "La clé est refusée à partir de la fin de ce jour, en UTC. Laissez vide pour une clé sans expiration.",
    copy_now: "Copiez-le maintenant : il ne sera plus jamais affiché. keygate ne le conserve pas. S'il est perdu, créez une autre clé.",
    revoke_for_good: "La révocation est définitive. La clé est refusée sur chaque nœud dès qu'il en a connaissance, et ne peut pas être rétablie.",
    already_revoked: "Cette clé est déjà révoquée : plus rien ne peut y être modifié.",
    may_not_change: "Votre rôle permet de voir cette clé, pas de la modifier.",
};

const CLIENT_TOKEN: KindWords = KindWords {
    title: "Client tokens",
    create: "Create Client Token",
    lead: "A client token may be seen by anybody: it stands in web pages and apps, and can only send browser logs.",
    one: "Client token",
    name_hint: "1 to 256 characters, unique among the active client tokens of the org.",
    leaver: "It belongs to the org: it stays valid when whoever made it leaves.",
    breaks: "Web pages and apps that carry it, also copies that browsers still keep, can no longer send logs.",
    empty: "There are no client tokens yet.",
    revoke_title: "Revoke client token",
    rotate_title: "Rotate client token",
    shadow_title: "Shadow-revoke client token",
    created: "Client token created",
    none_found: "No token is like that.",
    show_every: "Show all tokens",
    expires_hint: "The token is refused from the end of this day on, in UTC. Leave it empty for a token that does not expire.",
    copy_now: "Copy it now: it is never shown again. keygate does not keep it. If it is lost, create another token.",
    revoke_for_good: "Revoking is for good. The token is refused on every node as soon as each has heard of it, and cannot be revived.",
    already_revoked: "This token is revoked already: nothing of it can be changed.",
    may_not_change: "Your role may look at this token and not change it.",
};

const CLIENT_TOKEN_FR: KindWords = KindWords {
    title: "Jetons client",
    create: "Créer un jeton client",
    lead: "Un jeton client peut être vu de tous : il se trouve dans des pages web et des applications, et ne peut qu'envoyer des journaux de navigateur.",
    one: "Jeton client",
    name_hint: "De 1 à 256 caractères, unique parmi les jetons client actifs de l'organisation.",
    leaver: "Il appartient à l'organisation : il reste valable quand la personne qui l'a créé part.",
    breaks: "Les pages web et applications qui le portent, y compris les copies que gardent les navigateurs, ne peuvent plus envoyer de journaux.",
    empty: "Il n'y a pas encore de jeton client.",
    revoke_title: "Révoquer le jeton client",
    rotate_title: "Renouveler le jeton client",
    shadow_title: "Révoquer à blanc le jeton client",
    created: "Jeton client créé",
    none_found: "Aucun jeton ne correspond.",
    show_every: "Afficher tous les jetons",
    expires_hint: "Le jeton est refusé à partir de la fin de ce jour, en UTC. Laissez vide pour un jeton sans expiration.",
    copy_now: "Copiez-le maintenant : il ne sera plus jamais affiché. keygate ne le conserve pas. S'il est perdu, créez un autre jeton.",
    revoke_for_good: "La révocation est définitive. Le jeton est refusé sur chaque nœud dès qu'il en a connaissance, et ne peut pas être rétabli.",
    already_revoked: "Ce jeton est déjà révoqué : plus rien ne peut y être modifié.",
    may_not_change: "Votre rôle permet de voir ce jeton, pas de le modifier.",
};

/// Of this kind, in this language.
pub(super) const fn of(language: Language, kind: KeyKind) -> &'static KindWords {
    match (language, kind) {
        (Language::English, KeyKind::ApiKey) => &API_KEY,
        (Language::English, KeyKind::ApplicationKey) => &APPLICATION_KEY,
        (Language::English, KeyKind::ClientToken) => &CLIENT_TOKEN,
        (Language::French, KeyKind::ApiKey) => &API_KEY_FR,
        (Language::French, KeyKind::ApplicationKey) => &APPLICATION_KEY_FR,
        (Language::French, KeyKind::ClientToken) => &CLIENT_TOKEN_FR,
    }
}

/// How many there are of how many allowed.
pub(super) fn counts(language: Language, kind: KeyKind, active: usize, most: u32) -> String {
    match (language, kind) {
        (Language::English, KeyKind::ApiKey) => format!("{active} of {most} API keys"),
        (Language::English, KeyKind::ApplicationKey) => {
            format!("{active} of {most} application keys of your own")
        }
        (Language::English, KeyKind::ClientToken) => format!("{active} of {most} client tokens"),
        (Language::French, KeyKind::ApiKey) => format!("{active} clé(s) d'API sur {most}"),
        (Language::French, KeyKind::ApplicationKey) => {
            format!("{active} de vos clés d'application sur {most}")
        }
        (Language::French, KeyKind::ClientToken) => {
            format!("{active} jeton(s) client sur {most}")
        }
    }
}

/// The same of whoever has them: application keys count for their owner, who need not be the visitor.
pub(super) fn counts_of(language: Language, kind: KeyKind, active: usize, most: u32) -> String {
    match (language, kind) {
        (Language::English, KeyKind::ApplicationKey) => {
            format!("{active} of {most} application keys of its owner")
        }
        (Language::French, KeyKind::ApplicationKey) => {
            format!("{active} clé(s) d'application sur {most} pour son propriétaire")
        }
        (language, kind) => counts(language, kind, active, most),
    }
}
