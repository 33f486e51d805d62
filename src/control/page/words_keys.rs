//! What the pages of keys say, in each language, side by side: words, and sentences with numbers in them. What differs from
//! kind to kind is in `words_kinds`.

use crate::keys::permissions::Permission;
use crate::keys::refusal::Language;

words! {
    // Lists.
    find = "Name or last four characters", "Nom ou quatre derniers caractères";
    show = "Show", "Afficher";
    show_active = "Not revoked", "Non révoquées";
    show_revoked = "Revoked", "Révoquées";
    show_all = "All", "Toutes";
    search = "Search", "Rechercher";
    sort = "Order", "Ordre";
    sort_name = "By name", "Par nom";
    sort_name_falling = "By name, backwards", "Par nom, à l'envers";
    sort_newest = "Newest first", "Les plus récentes d'abord";
    sort_oldest = "Oldest first", "Les plus anciennes d'abord";
    sort_used = "Last used first", "Les dernières utilisées d'abord";
    sort_unused = "Longest unused first", "Les plus longtemps inutilisées d'abord";
    pages = "Pages of the list", "Pages de la liste";
    previous = "Previous page", "Page précédente";
    next = "Next page", "Page suivante";
    only_own = "These are your own application keys. Your role does not show those of others.", "Ce sont vos propres clés d'application. Votre rôle ne montre pas celles des autres.";
    actions = "Actions", "Actions";

    // Facts.
    name = "Name", "Nom";
    last_four = "Last four", "Quatre derniers";
    owner = "Owner", "Propriétaire";
    made = "Created", "Création";
    changed = "Last changed", "Dernière modification";
    by = "by", "par";
    last_used = "Last used", "Dernière utilisation";
    never_used = "Never", "Jamais";
    uses = "Accepted requests", "Requêtes acceptées";
    status = "Status", "État";
    expires = "Expires", "Expiration";
    never = "Never", "Jamais";
    id = "ID", "Identifiant";
    scopes = "Scopes", "Portées";
    all_scopes = "None: all that the owner may", "Aucune : tout ce que peut le propriétaire";
    addresses = "Allowed addresses", "Adresses autorisées";
    origins = "Allowed origins", "Origines autorisées";
    any = "Any", "Toutes";
    category = "Category", "Catégorie";
    remote_config = "Remote configuration", "Configuration à distance";
    readable = "May be read with this key", "Lisible avec cette clé";
    not_readable = "May not be read with this key", "Non lisible avec cette clé";
    replaced_by = "Replaced by", "Remplacée par";
    revoked = "Revoked", "Révoquée";
    somebody_at_the_machine = "the operator, at the machine", "l'exploitant, sur la machine";
    keygate_itself = "keygate itself", "keygate lui-même";
    with_its_owner = "disabling its owner", "la désactivation de son propriétaire";

    // Forms.
    cancel = "Cancel", "Annuler";
    not_done = "This was not done", "Cela n'a pas été fait";
    nothing_lost = "What you entered is still here.", "Votre saisie est conservée.";
    expires_label = "Last day (optional)", "Dernier jour (facultatif)";
    expires_exactly = "At present:", "Actuellement :";
    expires_kept = "; the time stays unless you choose another day.", " ; l'heure reste la même si vous ne choisissez pas un autre jour.";
    addresses_label = "Allowed addresses (optional)", "Adresses autorisées (facultatif)";
    addresses_hint = "One address or network to a line, such as 192.0.2.7 or 10.0.0.0/8. From any other address the key is refused. Empty is any address.", "Une adresse ou un réseau par ligne, comme 192.0.2.7 ou 10.0.0.0/8. Depuis toute autre adresse, la clé est refusée. Vide : toutes les adresses.";
    origins_label = "Allowed origins (optional)", "Origines autorisées (facultatif)";
    origins_hint = "One to a line: https://shop.example, or https://*.shop.example for every name below it. Pages of any other site are refused. Empty is any origin.", "Une par ligne : https://shop.example, ou https://*.shop.example pour tous les noms en dessous. Les pages des autres sites sont refusées. Vide : toutes les origines.";
    scopes_label = "Scopes (optional)", "Portées (facultatif)";
    scopes_hint = "With none chosen the key may do all that its owner may. With scopes it may do only what both its owner's role and the scopes allow.", "Sans portée, la clé peut tout ce que peut son propriétaire. Avec des portées, elle ne peut que ce que permettent à la fois le rôle de son propriétaire et les portées.";
    more_scopes = "Other scopes", "Autres portées";
    more_scopes_hint = "Names of permissions that your API knows, with spaces between them: lower-case letters, digits and _.", "Noms de permissions connues de votre API, séparés par des espaces : minuscules, chiffres et _.";
    owner_hint = "Requests with this key are logged as this user's. No key can be moved to another one later.", "Les requêtes faites avec cette clé sont journalisées au nom de cet utilisateur. Aucune clé ne peut changer de propriétaire ensuite.";
    yourself = "Yourself", "Vous-même";
    service_account = "service account", "compte de service";
    shown_once_hint = "The secret is shown once, on the next page, and cannot be looked up later.", "Le secret est affiché une seule fois, sur la page suivante, et ne peut pas être retrouvé ensuite.";
    import_hint = "To keep using a secret that was issued elsewhere, import it with the command line, which reads it from standard input: keygate keys import.", "Pour continuer à utiliser un secret émis ailleurs, importez-le avec la ligne de commande, qui le lit sur l'entrée standard : keygate keys import.";

    // The secret.
    secret = "Secret", "Secret";
    examples = "Ready to paste", "Prêt à coller";
    examples_hint = "If your senders reach keygate by another address, put that in its place.", "Si vos émetteurs joignent keygate à une autre adresse, mettez-la à la place.";
    example_agent = "Agent, in datadog.yaml", "Agent, dans datadog.yaml";
    example_curl = "Try it on a command line", "Essai en ligne de commande";
    example_browser = "In a web page", "Dans une page web";
    to_key = "To the key", "Vers la clé";
    to_list = "To the list", "Vers la liste";
    copy_example = "Copy example", "Copier l'exemple";
    secret_gone = "This form was sent before, and its secret can no longer be shown. The key exists; if you do not have its secret, revoke it and create another one.", "Ce formulaire a déjà été envoyé et son secret ne peut plus être affiché. La clé existe ; si vous n'avez pas son secret, révoquez-la et créez-en une autre.";

    // One key.
    facts = "Facts", "Informations";
    change = "Change", "Modifier";
    save = "Save", "Enregistrer";
    saved = "Saved.", "Enregistré.";
    saved_shadow = "Shadow-revoked. Its requests still pass, and are counted.", "Révoquée à blanc. Ses requêtes passent encore, et sont comptées.";
    saved_unshadow = "The shadow revocation is taken back.", "La révocation à blanc est annulée.";
    usage = "Usage", "Utilisation";
    from = "from", "depuis";
    would_be_refused = "Would have been refused", "Auraient été refusées";
    sources = "The last places it was used from", "Les derniers endroits d'où elle a servi";
    address = "Address", "Adresse";
    program = "Program", "Programme";
    unnamed = "does not say", "ne le dit pas";
    usage_hint = "Counted are requests that were accepted, and written down every few seconds.", "Seules les requêtes acceptées sont comptées, et notées toutes les quelques secondes.";
    history = "What was done to it", "Ce qui lui a été fait";
    history_more = "All entries in the audit log", "Toutes les entrées du journal d'audit";
    when = "When", "Quand";
    who = "Who", "Qui";
    what = "What", "Quoi";
    details = "Before and after", "Avant et après";
    rotate = "Rotate", "Renouveler";
    revoke = "Revoke", "Révoquer";
    shadow = "Shadow-revoke", "Révoquer à blanc";
    unshadow = "Take the shadow revocation back", "Annuler la révocation à blanc";

    // Revoking.
    who_still_uses = "Who still uses it", "Qui l'utilise encore";
    what_breaks = "What stops working", "Ce qui cessera de fonctionner";
    not_sure = "Not sure who still uses it?", "Vous ne savez pas qui l'utilise encore ?";
    not_sure_hint = "Shadow-revoke it first: requests still pass, and are marked and counted as those that would be refused. Or rotate it, with an overlap in which both keys work.", "Révoquez-la d'abord à blanc : les requêtes passent encore, marquées et comptées comme celles qui seraient refusées. Ou renouvelez-la, avec une période où les deux clés fonctionnent.";
    last_key = "This is the last API key of the org, and an org keeps at least one. Create another one first, or rotate this one.", "C'est la dernière clé d'API de l'organisation, qui en garde au moins une. Créez-en d'abord une autre, ou renouvelez celle-ci.";
    never_used_hint = "As far as is known it was never used.", "Autant qu'on sache, elle n'a jamais servi.";
    still_used = "It was used within the last 24 hours: somebody will notice.", "Elle a servi au cours des dernières 24 heures : quelqu'un s'en apercevra.";
    receipt = "Receipt", "Accusé";
    receipt_caption = "What each node said", "Ce que chaque nœud a répondu";
    node = "Node", "Nœud";
    answer = "Answer", "Réponse";
    this_server = "this server", "ce serveur";
    no_server = "No server runs: the key is refused from the next start on.", "Aucun serveur ne tourne : la clé est refusée dès le prochain démarrage.";
    everywhere = "Revoked on every node that runs.", "Révoquée sur chaque nœud en marche.";
    not_everywhere = "Revoked, and not every node has said so yet. What each one does is below; look again by sending this form once more.", "Révoquée, mais tous les nœuds ne l'ont pas encore confirmé. Le détail est ci-dessous ; renvoyez ce formulaire pour regarder de nouveau.";
    not_asked = "Revoked. The nodes could not be asked whether they refuse it by now.", "Révoquée. Les nœuds n'ont pas pu dire s'ils la refusent déjà.";
    look_again = "Look again", "Regarder de nouveau";

    // Shadow revocation.
    shadow_lead = "To know who would break before anyone does.", "Pour savoir qui serait touché avant que quiconque le soit.";
    shadow_1 = "Requests with the key still pass: nobody notices anything.", "Les requêtes avec la clé passent encore : personne ne remarque rien.";
    shadow_2 = "Each one is marked in the records, and counted, as one that would be refused.", "Chacune est marquée dans les enregistrements, et comptée, comme une requête qui serait refusée.";
    shadow_3 = "When nothing has come for as long as your slowest sender takes, revoke it for good.", "Quand rien n'est venu pendant le temps qu'il faut à votre émetteur le plus lent, révoquez-la définitivement.";
    shadow_4 = "It can be taken back at any time.", "Cela peut être annulé à tout moment.";
    shadow_ends = "The key is an ordinary one again, and its requests are no longer marked.", "La clé redevient ordinaire, et ses requêtes ne sont plus marquées.";
    shadow_since = "Its requests pass and are counted since", "Ses requêtes passent et sont comptées depuis";

    // Rotation.
    rotate_lead = "A new key beside the old one, so that senders move over without a gap.", "Une nouvelle clé à côté de l'ancienne, pour que les émetteurs changent sans interruption.";
    steps = "How it goes", "Déroulement";
    step_1 = "Choose below how long the old key stays valid.", "Choisissez ci-dessous combien de temps l'ancienne clé reste valable.";
    step_2 = "The new key is made, with what the old one may, and its secret is shown once.", "La nouvelle clé est créée, avec les mêmes droits que l'ancienne, et son secret est affiché une fois.";
    step_3 = "Put the new secret into your senders.", "Mettez le nouveau secret dans vos émetteurs.";
    step_4 = "The page of the old key shows who still uses it. When nobody does, revoke it; at its end it is refused in any case.", "La page de l'ancienne clé montre qui l'utilise encore. Quand plus personne ne l'utilise, révoquez-la ; à son terme, elle est refusée dans tous les cas.";
    overlap = "The old key stays valid for", "L'ancienne clé reste valable";
    overlap_none = "Not at all: it has leaked. It is revoked at once.", "Pas du tout : elle a fuité. Elle est révoquée immédiatement.";
    overlap_hour = "1 hour", "1 heure";
    overlap_day = "1 day", "1 jour";
    overlap_week = "7 days", "7 jours";
    overlap_month = "30 days", "30 jours";
    overlap_date = "Until the end of a day", "Jusqu'à la fin d'un jour";
    overlap_hint = "An overlap never lengthens the life of the old key.", "Ce délai ne prolonge jamais la vie de l'ancienne clé.";
    until_label = "That day (UTC)", "Ce jour (UTC)";
    new_name = "Name of the new key", "Nom de la nouvelle clé";
    new_name_hint = "With the old key's name, the old key is called \"… (old)\" for as long as both are valid.", "Si elle garde le nom de l'ancienne, celle-ci s'appelle « … (old) » tant que les deux sont valables.";
    new_expires = "Last day of the new key (optional)", "Dernier jour de la nouvelle clé (facultatif)";
    place_for_both = "While both are valid they count as two keys.", "Tant que les deux sont valables, elles comptent pour deux clés.";
    old_revoked = "The old key is revoked.", "L'ancienne clé est révoquée.";
    old_ends = "The old key stays valid until", "L'ancienne clé reste valable jusqu'au";
    old_progress = "See who still uses the old key", "Voir qui utilise encore l'ancienne clé";
    in_rotation = "Being replaced", "En cours de remplacement";
    new_used = "The new key was last used", "La nouvelle clé a servi pour la dernière fois";
    new_not_used = "The new key has not been used yet: no sender has it.", "La nouvelle clé n'a pas encore servi : aucun émetteur ne l'a.";
    old_used = "The old key was last used", "L'ancienne clé a servi pour la dernière fois";
    old_not_used = "The old key was never used.", "L'ancienne clé n'a jamais servi.";
    ends_at = "The old key ends", "L'ancienne clé prend fin";
}

/// What a permission allows, for the boxes of the scopes.
pub(super) const fn permission_meaning(language: Language, permission: Permission) -> &'static str {
    match language {
        Language::English => permission.meaning(),
        Language::French => match permission {
            Permission::ApiKeysRead => "Voir les clés d'API de l'organisation.",
            Permission::ApiKeysWrite => {
                "Créer, renommer, renouveler et restreindre des clés d'API."
            }
            Permission::ApiKeysDelete => "Révoquer des clés d'API.",
            Permission::UserAppKeys => {
                "Voir, créer, modifier et révoquer ses propres clés d'application."
            }
            Permission::OrgAppKeysRead => {
                "Voir les clés d'application de tous les membres de l'organisation."
            }
            Permission::OrgAppKeysWrite => {
                "Modifier et révoquer les clés d'application de tous les membres de l'organisation."
            }
            Permission::ClientTokensRead => "Voir les jetons client de l'organisation.",
            Permission::ClientTokensWrite => "Créer, modifier et révoquer des jetons client.",
            Permission::UserAccessRead => {
                "Voir les utilisateurs, comptes de service et rôles de l'organisation."
            }
            Permission::UserAccessInvite => {
                "Créer des utilisateurs et leur donner des liens de connexion à usage unique."
            }
            Permission::UserAccessManage => "Modifier, désactiver et réactiver des utilisateurs.",
            Permission::ServiceAccountWrite => {
                "Créer, modifier et désactiver des comptes de service, et gérer leurs clés d'application."
            }
            Permission::AuditLogsRead => "Lire le journal d'audit de l'organisation.",
        },
    }
}

/// How many keys were found, of how many.
pub(super) fn found(language: Language, from: usize, to: usize, all: usize) -> String {
    match (language, all) {
        (Language::English, 0) => "No keys".to_owned(),
        (Language::English, 1) => "1 key".to_owned(),
        (Language::English, _) => format!("Keys {from} to {to} of {all}"),
        (Language::French, 0) => "Aucune clé".to_owned(),
        (Language::French, 1) => "1 clé".to_owned(),
        (Language::French, _) => format!("Clés {from} à {to} sur {all}"),
    }
}

/// A length of time, rounded down to its largest unit.
pub(super) fn span(language: Language, ms: i64) -> String {
    const UNITS: [(i64, [&str; 2], [&str; 2]); 4] = [
        (86_400_000, ["day", "days"], ["jour", "jours"]),
        (3_600_000, ["hour", "hours"], ["heure", "heures"]),
        (60_000, ["minute", "minutes"], ["minute", "minutes"]),
        (1_000, ["second", "seconds"], ["seconde", "secondes"]),
    ];
    let ms = ms.max(1_000);
    let unit = UNITS.iter().find(|(length, ..)| ms >= *length);
    let Some((length, english, french)) = unit else {
        return String::new();
    };
    let count = ms / length;
    let [one, many] = match language {
        Language::English => english,
        Language::French => french,
    };
    format!("{count} {}", if count == 1 { one } else { many })
}

/// How long ago, or in how long.
pub(super) fn distance(language: Language, from_now_ms: i64) -> String {
    let length = span(language, from_now_ms.saturating_abs());
    match (language, from_now_ms > 0) {
        (Language::English, true) => format!("in {length}"),
        (Language::English, false) => format!("{length} ago"),
        (Language::French, true) => format!("dans {length}"),
        (Language::French, false) => format!("il y a {length}"),
    }
}

/// That a node has applied a change.
pub(super) fn applied(language: Language, after_ms: Option<u64>) -> String {
    match (language, after_ms) {
        (Language::English, Some(ms)) => format!("Refused there after {ms} ms"),
        (Language::English, None) => "Refused there".to_owned(),
        (Language::French, Some(ms)) => format!("Refusée là après {ms} ms"),
        (Language::French, None) => "Refusée là".to_owned(),
    }
}

/// That a node has not said so.
pub(super) fn silent(language: Language, until: &str) -> String {
    match language {
        Language::English => format!("No answer: refused there at the latest from {until} on"),
        Language::French => format!("Pas de réponse : refusée là au plus tard à partir du {until}"),
    }
}

/// That a node does not run.
pub(super) fn stopped(language: Language, until: &str) -> String {
    match language {
        Language::English => format!(
            "Does not run. Started again without the store, it refuses the key at the latest from {until} on"
        ),
        Language::French => format!(
            "Ne tourne pas. Redémarré sans le magasin, il refuse la clé au plus tard à partir du {until}"
        ),
    }
}

/// When a key ends, beside its status.
pub(super) fn ends(language: Language, distance: &str) -> String {
    match language {
        Language::English => format!("expires {distance}"),
        Language::French => format!("expire {distance}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_said_in_their_largest_unit() {
        let said = |ms| {
            (
                distance(Language::English, ms),
                distance(Language::French, ms),
            )
        };
        let pair = |english: &str, french: &str| (english.to_owned(), french.to_owned());
        assert_eq!(said(0), pair("1 second ago", "il y a 1 seconde"));
        assert_eq!(said(-90_000), pair("1 minute ago", "il y a 1 minute"));
        assert_eq!(said(7_200_000), pair("in 2 hours", "dans 2 heures"));
        assert_eq!(said(i64::MIN).0, "106751991167 days ago");
    }
}
