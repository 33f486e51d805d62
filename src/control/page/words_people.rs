//! The words of the pages of users, the audit log, the fleet and usage, in each language. What refusals say is
//! `keys::refusal`'s.

use crate::control::{NodeHealth, NodeState};
use crate::keys::audit::Via;
use crate::keys::permissions::Permission;
use crate::keys::refusal::Language;
use crate::keys::{KeyKind, Role};

pub(super) use super::phrases_people::{
    application_keys, applied_after, disable, edit, ends, entries, fleet, found, link_for,
    more_keys, picture, refuses_from, shadowed, stays, sure, unused, usage_of, user_created, uses,
};

words! {
    // Users and service accounts.
    users = "Users", "Utilisateurs";
    users_lead = "The people of your org. Disabling one ends everything they have at once.", "Les personnes de votre organisation. En désactiver une met fin aussitôt à tout ce qu'elle a.";
    accounts = "Service accounts", "Comptes de service";
    accounts_lead = "Names that programs act under. They own application keys, outlive the people who set them up, and never sign in.", "Des noms sous lesquels agissent des programmes. Ils possèdent des clés d'application, survivent à qui les a créés et ne se connectent jamais.";
    create_user = "Create user", "Créer un utilisateur";
    create_account = "Create service account", "Créer un compte de service";
    find = "Find by name or e-mail", "Chercher par nom ou e-mail";
    search = "Search", "Chercher";
    name = "Name", "Nom";
    handle = "Login name", "Identifiant de connexion";
    email = "E-mail", "E-mail";
    title = "Title", "Fonction";
    title_optional = "Title (optional)", "Fonction (facultatif)";
    role = "Role", "Rôle";
    status = "Status", "État";
    active = "Active", "Actif";
    disabled = "Disabled", "Désactivé";
    last_sign_in = "Last sign-in", "Dernière connexion";
    no_sign_in = "None known", "Aucune connue";
    sign_ins_hint = "Sign-ins are taken from the newest entries of the audit log.", "Les connexions proviennent des entrées les plus récentes du journal d'audit.";
    application_keys = "Application keys", "Clés d'application";
    you = "you", "vous";
    pages = "Pages", "Pages";
    previous_page = "Previous page", "Page précédente";
    next_page = "Next page", "Page suivante";
    all_users = "All users", "Tous les utilisateurs";
    all_accounts = "All service accounts", "Tous les comptes de service";
    is_disabled = "Disabled: nothing of theirs works. Enabling revives no application key.", "Désactivé : rien de ce qui lui appartient ne fonctionne. Réactiver ne fait revivre aucune clé d'application.";
    none = "None", "Aucun";
    created = "Created", "Création";
    changed = "Last change", "Dernière modification";
    id = "Id", "Id";
    what_role_may = "What this role may do", "Ce que permet ce rôle";
    what_it_may = "What it may do", "Ce qu'il permet";
    more = "See also", "Voir aussi";
    create_application_key = "Create Application Key", "Créer une clé d'application";
    what_they_did = "What they did (audit log)", "Ce qui a été fait sous ce nom (journal d'audit)";
    what_was_done_to_them = "What was done to them (audit log)", "Ce qui lui a été fait (journal d'audit)";
    actions = "Actions", "Actions";
    edit = "Edit", "Modifier";
    new_link = "New sign-in link", "Nouveau lien de connexion";
    link_hint = "The link lets its holder set a new password once. It is shown to you only, once.", "Le lien permet à qui le détient de choisir un nouveau mot de passe, une fois. Il n'est montré qu'à vous, une seule fois.";
    enable = "Enable", "Réactiver";
    enable_hint = "They may sign in and make keys again. Application keys that were revoked stay revoked.", "La connexion et la création de clés sont de nouveau permises. Les clés d'application révoquées le restent.";
    disable_dots = "Disable…", "Désactiver…";
    what_is_left = "What is left to rotate", "Ce qui reste à renouveler";
    last_admin = "This is the last active admin of your org, who can neither be disabled nor be given another role: make somebody else an admin first.", "C'est le dernier administrateur actif de votre organisation, qui ne peut ni être désactivé ni changer de rôle : nommez d'abord un autre administrateur.";
    back = "Back", "Retour";
    cancel = "Cancel", "Annuler";
    save = "Save", "Enregistrer";
    user_form_lead = "They sign in with this e-mail address. The next page shows the link with which they set a password.", "La connexion se fait avec cette adresse e-mail. La page suivante montre le lien qui permet de choisir un mot de passe.";
    account_form_lead = "Its application keys carry its role. People who may manage service accounts make them.", "Ses clés d'application portent son rôle. Elles sont créées par qui peut gérer les comptes de service.";
    edit_lead = "A new role counts from the next request on, also for sessions and application keys there are.", "Un nouveau rôle vaut dès la requête suivante, aussi pour les sessions et les clés d'application existantes.";
    name_hint_user = "Shown to others and in the audit log. Without one it is the e-mail address.", "Montré aux autres et dans le journal d'audit. À défaut, c'est l'adresse e-mail.";
    name_hint_edit = "Shown to others and in the audit log. 1 to 256 characters.", "Montré aux autres et dans le journal d'audit. De 1 à 256 caractères.";
    name_hint_account = "Shown with its keys and in the audit log. 1 to 256 characters.", "Montré avec ses clés et dans le journal d'audit. De 1 à 256 caractères.";
    email_hint_user = "The login name; nobody else in your org has it.", "L'identifiant de connexion ; personne d'autre ne l'a dans votre organisation.";
    email_hint_edit = "Changing it does not change the login name.", "La modifier ne change pas l'identifiant de connexion.";
    email_hint_account = "Optional: where to reach those who look after it.", "Facultatif : où joindre qui s'en occupe.";
    role_missing = "Choose a role.", "Choisissez un rôle.";
    link = "Sign-in link", "Lien de connexion";
    link_once = "Send this link to them by a way you trust. It is shown this once and works once.", "Envoyez-leur ce lien par une voie sûre. Il est montré une seule fois et ne sert qu'une fois.";
    link_until = "It works until", "Il sert jusqu'au";
    link_rules = "Setting the password ends all their sessions. A link that nobody uses is harmless after that time.", "Choisir le mot de passe met fin à toutes les sessions de cette personne. Un lien inutilisé est sans effet passé ce délai.";
    saved = "Saved.", "Enregistré.";
    enabled_again = "Enabled again. Their application keys stay revoked.", "Réactivé. Les clés d'application restent révoquées.";
    account_created = "Service account created.", "Compte de service créé.";
    // Leaving.
    ends_at_once = "What ends at once", "Ce qui prend fin aussitôt";
    ends_sessions = "Every session they have on these pages, in every browser.", "Toutes les sessions sur ces pages, dans tous les navigateurs.";
    ends_links = "Every sign-in link that was not used yet.", "Tous les liens de connexion encore inutilisés.";
    ends_for_good = "Application keys are revoked for good: enabling the user again revives none.", "Les clés d'application sont révoquées définitivement : réactiver l'utilisateur n'en fait revivre aucune.";
    has_ended = "What has ended", "Ce qui a pris fin";
    last_four = "Last four", "Quatre derniers";
    last_used = "Last used", "Dernière utilisation";
    never_used = "Never", "Jamais";
    stays = "What stays valid, and is yours to rotate", "Ce qui reste valable, et qu'il faut renouveler";
    to_do = "What is left to do", "Ce qui reste à faire";
    nothing_stays = "Nothing: no active API key or client token was made by them.", "Rien : aucune clé d'API active ni aucun jeton client actif n'a été créé sous ce nom.";
    stays_caption = "API keys and client tokens they made", "Clés d'API et jetons clients créés sous ce nom";
    kind = "Kind", "Sorte";
    next_step = "Next step", "Étape suivante";
    rotate = "Rotate", "Renouveler";
    confirm = "Confirm", "Confirmer";
    confirm_missing = "Tick the box to confirm.", "Cochez la case pour confirmer.";
    is_you = "This is you: you will be signed out and cannot come back by yourself.", "C'est vous : vous serez déconnecté et ne pourrez pas revenir par vous-même.";
    receipt = "Receipt", "Reçu";
    receipt_caption = "Node by node", "Nœud par nœud";
    node = "Node", "Nœud";
    this_server = "this server", "ce serveur";
    state = "State", "État";
    when = "When", "Quand";
    everywhere = "In force on every node that runs.", "En vigueur sur chaque nœud en marche.";
    not_everywhere = "Not every node has said that it applied this. The table says from when on each refuses at the latest.", "Tous les nœuds n'ont pas confirmé. Le tableau dit à partir de quand chacun refuse au plus tard.";
    nodes_unknown = "Disabled; but the nodes could not be asked:", "Désactivé ; mais les nœuds n'ont pu être interrogés :";
    // The audit log.
    audit = "Audit log", "Journal d'audit";
    audit_lead = "Who did what, the newest first. Entries are linked to each other and cannot be changed unnoticed.", "Qui a fait quoi, le plus récent d'abord. Les entrées sont liées entre elles et ne peuvent être changées sans que cela se voie.";
    filters = "Filters", "Filtres";
    actor = "Who", "Qui";
    actor_hint = "A login name, an id, operator or system.", "Un identifiant de connexion, un id, operator ou system.";
    anybody = "Anybody", "N'importe qui";
    action = "What", "Quoi";
    anything = "Anything", "N'importe quoi";
    object = "Id of the key or user", "Id de la clé ou de l'utilisateur";
    object_id = "Object id", "Id de l'objet";
    from = "From (UTC)", "À partir du (UTC)";
    until = "Before (UTC)", "Avant le (UTC)";
    show = "Show", "Afficher";
    clear = "Clear", "Effacer";
    download = "Download as JSON lines", "Télécharger en lignes JSON";
    entries = "Entries", "Entrées";
    details = "Details", "Détails";
    changes = "Before and after", "Avant et après";
    field = "Field", "Champ";
    before = "Before", "Avant";
    after = "After", "Après";
    via = "Through", "Par";
    address = "Address", "Adresse";
    application_key = "Application key used", "Clé d'application utilisée";
    request_id = "Request id", "Id de la requête";
    audit_id = "Audit id", "Id d'audit";
    hash = "Hash", "Empreinte";
    newest = "Newest entries", "Entrées les plus récentes";
    older = "Older entries", "Entrées plus anciennes";
    open_quote = "“", "«\u{a0}";
    close_quote = "”", "\u{a0}»";
    operator = "the operator", "l'opérateur";
    system = "keygate", "keygate";
    no_time = "This is no time: give one as in 2026-11-25T08:30.", "Ce n'est pas un moment : donnez-en un comme 2026-11-25T08:30.";
    no_id = "This is no id: ids are 36 characters, as a link to an object has them.", "Ce n'est pas un id : un id a 36 caractères, comme dans le lien d'un objet.";
    no_action = "There is no such action: choose one from the list.", "Il n'y a pas de telle action : choisissez dans la liste.";
    // The fleet.
    fleet = "Fleet", "Flotte";
    fleet_lead = "The nodes that share the keys of this store, as they reported last.", "Les nœuds qui partagent les clés de ce magasin, selon leur dernier rapport.";
    single_server = "This is a single server: its store is a file of its own, and there are no other nodes.", "C'est un serveur unique : son magasin est un fichier à lui, et il n'y a pas d'autres nœuds.";
    nodes = "Nodes", "Nœuds";
    version = "Version", "Version";
    keys_held = "Keys held", "Clés connues";
    view_age = "Age of view", "Âge de la vue";
    behind = "Partitions behind", "Partitions en retard";
    last_report = "Last report", "Dernier rapport";
    lease_ends = "Lease ends", "Fin du bail";
    no_nodes = "No node has reported yet.", "Aucun nœud n'a encore fait de rapport.";
    // Usage.
    usage = "Usage", "Utilisation";
    usage_lead = "Requests that were accepted, by the keys of your org. Times are UTC.", "Les requêtes acceptées, par les clés de votre organisation. Les heures sont en UTC.";
    usage_counts = "Counted are requests with API keys and client tokens. A request that also has an application key is one request; application keys have their own counts below.", "Sont comptées les requêtes avec des clés d'API et des jetons client. Une requête qui a aussi une clé d'application est une seule requête ; les clés d'application ont leurs propres comptes ci-dessous.";
    last_24_hours = "Requests per hour, last 24 hours", "Requêtes par heure, dernières 24 heures";
    last_30_days = "Requests per day, last 30 days", "Requêtes par jour, 30 derniers jours";
    requests = "Requests", "Requêtes";
    as_table = "As a table", "Sous forme de tableau";
    hour = "Hour", "Heure";
    day = "Day", "Jour";
    top_keys = "Most used keys", "Clés les plus utilisées";
    top_keys_caption = "By accepted requests, last 30 days", "Selon les requêtes acceptées, 30 derniers jours";
    no_uses = "No request was accepted yet.", "Aucune requête n'a encore été acceptée.";
    unused_keys = "Unused keys", "Clés inutilisées";
    owner = "Owner", "Propriétaire";
    shadowed_keys = "Shadow-revoked keys", "Clés révoquées à blanc";
    shadowed_since = "Since", "Depuis";
    would_be_refused = "Would have been refused", "Auraient été refusées";
    shadow_revoked = "Shadow-revoked", "Révoquée à blanc";
    who_would_break = "Who would break", "Qui serait bloqué";
    user_agent = "Client", "Client";
    used_from = "Used from", "Utilisée depuis";
    used_from_caption = "The last places, at most eight", "Les derniers lieux, huit au plus";
    first_used = "First", "Première";
}

/// What a role is called.
pub(super) const fn role(language: Language, role: Role) -> &'static str {
    match (language, role) {
        (Language::English, Role::Admin) => "Admin",
        (Language::English, Role::Standard) => "Standard",
        (Language::English, Role::ReadOnly) => "Read-only",
        (Language::French, Role::Admin) => "Administrateur",
        (Language::French, Role::Standard) => "Standard",
        (Language::French, Role::ReadOnly) => "Lecture seule",
    }
}

/// What a role is for.
pub(super) const fn role_summary(language: Language, role: Role) -> &'static str {
    match (language, role) {
        (Language::English, Role::Admin) => "Everything in the org.",
        (Language::English, Role::Standard) => "Looks, and manages their own application keys.",
        (Language::English, Role::ReadOnly) => "Looks, and changes nothing.",
        (Language::French, Role::Admin) => "Tout dans l'organisation.",
        (Language::French, Role::Standard) => "Voit, et gère ses propres clés d'application.",
        (Language::French, Role::ReadOnly) => "Voit, et ne change rien.",
    }
}

/// What a permission allows.
pub(super) const fn permission(language: Language, permission: Permission) -> &'static str {
    match language {
        Language::English => permission.meaning(),
        Language::French => match permission {
            Permission::ApiKeysRead => "Voir les clés d'API de l'organisation.",
            Permission::ApiKeysWrite => {
                "Créer, renommer, renouveler et restreindre les clés d'API."
            }
            Permission::ApiKeysDelete => "Révoquer les clés d'API.",
            Permission::UserAppKeys => {
                "Voir, créer, modifier et révoquer ses propres clés d'application."
            }
            Permission::OrgAppKeysRead => {
                "Voir les clés d'application de tous dans l'organisation."
            }
            Permission::OrgAppKeysWrite => {
                "Modifier et révoquer les clés d'application de tous dans l'organisation."
            }
            Permission::ClientTokensRead => "Voir les jetons clients de l'organisation.",
            Permission::ClientTokensWrite => "Créer, modifier et révoquer les jetons clients.",
            Permission::UserAccessRead => {
                "Voir les utilisateurs, comptes de service et rôles de l'organisation."
            }
            Permission::UserAccessInvite => {
                "Créer des utilisateurs et leur donner des liens de connexion à usage unique."
            }
            Permission::UserAccessManage => "Modifier, désactiver et réactiver les utilisateurs.",
            Permission::ServiceAccountWrite => {
                "Créer, modifier et désactiver les comptes de service, et gérer leurs clés d'application."
            }
            Permission::AuditLogsRead => "Lire le journal d'audit de l'organisation.",
        },
    }
}

/// What a kind of key is called.
pub(super) const fn kind(language: Language, kind: KeyKind) -> &'static str {
    match (language, kind) {
        (Language::English, KeyKind::ApiKey) => "API key",
        (Language::English, KeyKind::ApplicationKey) => "Application key",
        (Language::English, KeyKind::ClientToken) => "Client token",
        (Language::French, KeyKind::ApiKey) => "Clé d'API",
        (Language::French, KeyKind::ApplicationKey) => "Clé d'application",
        (Language::French, KeyKind::ClientToken) => "Jeton client",
    }
}

/// Where the pages of a kind of key are.
pub(super) const fn kind_path(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::ApiKey => "/api-keys",
        KeyKind::ApplicationKey => "/application-keys",
        KeyKind::ClientToken => "/client-tokens",
    }
}

/// Through what something was done.
pub(super) const fn via(language: Language, via: Via) -> &'static str {
    match (language, via) {
        (Language::English, Via::Api) => "the API",
        (Language::English, Via::Page) => "the pages",
        (Language::English, Via::Cli) => "the command line on the server",
        (Language::English, Via::System) => "keygate itself",
        (Language::French, Via::Api) => "l'API",
        (Language::French, Via::Page) => "les pages",
        (Language::French, Via::Cli) => "la ligne de commande du serveur",
        (Language::French, Via::System) => "keygate même",
    }
}

/// Whether a node has applied a change.
pub(super) const fn node_state(language: Language, state: NodeState) -> &'static str {
    match (language, state) {
        (Language::English, NodeState::Applied) => "Applied",
        (Language::English, NodeState::NoAnswer) => "No answer",
        (Language::English, NodeState::Stopped) => "Stopped",
        (Language::French, NodeState::Applied) => "Appliqué",
        (Language::French, NodeState::NoAnswer) => "Pas de réponse",
        (Language::French, NodeState::Stopped) => "Arrêté",
    }
}

/// How a node is, and what that means.
pub(super) const fn health(language: Language, health: NodeHealth) -> (&'static str, &'static str) {
    match (language, health) {
        (Language::English, NodeHealth::Live) => {
            ("Live", "Reports, and has heard of every change.")
        }
        (Language::English, NodeHealth::Silent) => (
            "Silent",
            "Does not report, and accepts keys by what it knew last until its lease ends.",
        ),
        (Language::English, NodeHealth::Fenced) => {
            ("Fenced", "Does not report, and accepts nothing any more.")
        }
        (Language::English, NodeHealth::Stopped) => ("Stopped", "Has ended in good order."),
        (Language::French, NodeHealth::Live) => (
            "En marche",
            "Fait ses rapports et apprend chaque changement.",
        ),
        (Language::French, NodeHealth::Silent) => (
            "Muet",
            "Ne fait plus de rapport, et accepte des clés selon ce qu'il savait, jusqu'à la fin de son bail.",
        ),
        (Language::French, NodeHealth::Fenced) => {
            ("Isolé", "Ne fait plus de rapport et n'accepte plus rien.")
        }
        (Language::French, NodeHealth::Stopped) => ("Arrêté", "S'est terminé en bon ordre."),
    }
}
