//! Sentences with names and numbers in them, of the pages of users, the audit log, the fleet and usage, in each language.

use crate::keys::refusal::Language;

/// So many application keys.
pub(super) fn application_keys(language: Language, count: usize) -> String {
    match (language, count) {
        (Language::English, 0) => "No application key".to_owned(),
        (Language::English, 1) => "1 application key".to_owned(),
        (Language::English, _) => format!("{count} application keys"),
        (Language::French, 0) => "Aucune clé d'application".to_owned(),
        (Language::French, 1) => "1 clé d'application".to_owned(),
        (Language::French, _) => format!("{count} clés d'application"),
    }
}

/// So many users or accounts were found.
pub(super) fn found(language: Language, count: usize) -> String {
    match (language, count) {
        (Language::English, 0) => "Nobody found.".to_owned(),
        (Language::English, 1) => "1 found.".to_owned(),
        (Language::English, _) => format!("{count} found."),
        (Language::French, 0) => "Personne.".to_owned(),
        (Language::French, 1) => "1 résultat.".to_owned(),
        (Language::French, _) => format!("{count} résultats."),
    }
}

/// What is said once a user is made.
pub(super) fn user_created(language: Language, name: &str) -> String {
    match language {
        Language::English => format!("{name} was created."),
        Language::French => format!("{name} est créé."),
    }
}

/// The heading over a one-time link.
pub(super) fn link_for(language: Language, name: &str) -> String {
    match language {
        Language::English => format!("Sign-in link for {name}"),
        Language::French => format!("Lien de connexion pour {name}"),
    }
}

/// The heading over the form that changes somebody.
pub(super) fn edit(language: Language, name: &str) -> String {
    match language {
        Language::English => format!("Edit {name}"),
        Language::French => format!("Modifier {name}"),
    }
}

/// The heading over what ends with somebody.
pub(super) fn disable(language: Language, name: &str, is_done: bool) -> String {
    match (language, is_done) {
        (Language::English, false) => format!("Disable {name}"),
        (Language::English, true) => format!("{name} is disabled"),
        (Language::French, false) => format!("Désactiver {name}"),
        (Language::French, true) => format!("{name} est désactivé"),
    }
}

/// What is confirmed.
pub(super) fn sure(language: Language, name: &str) -> String {
    match language {
        Language::English => format!("Yes, end all of this for {name} now"),
        Language::French => format!("Oui, mettre fin à tout cela pour {name} maintenant"),
    }
}

/// What happens to so many application keys.
pub(super) fn ends(language: Language, count: usize, is_done: bool) -> String {
    let keys = application_keys(language, count);
    match (language, count, is_done) {
        (_, 0, _) => format!("{keys}."),
        (Language::English, 1, false) => {
            format!("{keys}, listed below: it is refused from then on.")
        }
        (Language::English, _, false) => {
            format!("{keys}, listed below: they are refused from then on.")
        }
        (Language::English, 1, true) => format!("{keys} was revoked for good."),
        (Language::English, _, true) => format!("{keys} were revoked for good."),
        (Language::French, 1, false) => format!("{keys}, ci-dessous : elle est refusée dès lors."),
        (Language::French, _, false) => {
            format!("{keys}, ci-dessous : elles sont refusées dès lors.")
        }
        (Language::French, 1, true) => format!("{keys} a été révoquée définitivement."),
        (Language::French, _, true) => format!("{keys} ont été révoquées définitivement."),
    }
}

/// Why what stays is to be rotated.
pub(super) fn stays(language: Language, count: usize) -> String {
    match (language, count) {
        (Language::English, 1) => "1 key that they made and may have copied stays valid, because your senders use it. Rotate it: a new key beside the old, then the old one ends.".to_owned(),
        (Language::English, _) => format!("{count} keys that they made and may have copied stay valid, because your senders use them. Rotate each: a new key beside the old, then the old one ends."),
        (Language::French, 1) => "1 clé créée sous ce nom, et peut-être copiée, reste valable, car vos émetteurs s'en servent. Renouvelez-la : une nouvelle clé à côté de l'ancienne, puis l'ancienne prend fin.".to_owned(),
        (Language::French, _) => format!("{count} clés créées sous ce nom, et peut-être copiées, restent valables, car vos émetteurs s'en servent. Renouvelez chacune : une nouvelle clé à côté de l'ancienne, puis l'ancienne prend fin."),
    }
}

/// When a node had applied a change.
pub(super) fn applied_after(language: Language, ms: Option<u64>) -> String {
    match (language, ms) {
        (_, None) => String::new(),
        (Language::English, Some(ms)) => format!("after {ms} ms"),
        (Language::French, Some(ms)) => format!("après {ms} ms"),
    }
}

/// From when on a node refuses even if it hears nothing more.
pub(super) fn refuses_from(language: Language, at: &str) -> String {
    match language {
        Language::English => format!("refuses from {at} at the latest"),
        Language::French => format!("refuse à partir du {at} au plus tard"),
    }
}

/// So many entries of the log are shown.
pub(super) fn entries(language: Language, count: usize, is_more: bool) -> String {
    match (language, count, is_more) {
        (Language::English, 0, false) => "No entry fits.".to_owned(),
        (Language::English, 0, true) => {
            "No entry fits among those looked at so far: go on with older ones.".to_owned()
        }
        (Language::English, 1, _) => "1 entry.".to_owned(),
        (Language::English, _, _) => format!("{count} entries."),
        (Language::French, 0, false) => "Aucune entrée ne convient.".to_owned(),
        (Language::French, 0, true) => {
            "Aucune entrée ne convient parmi celles parcourues : continuez avec de plus anciennes."
                .to_owned()
        }
        (Language::French, 1, _) => "1 entrée.".to_owned(),
        (Language::French, _, _) => format!("{count} entrées."),
    }
}

/// How the nodes are, in a sentence.
pub(super) fn fleet(language: Language, live: usize, all: usize) -> String {
    match language {
        Language::English => format!("{live} of {all} nodes report."),
        Language::French => format!("{live} nœuds sur {all} font leur rapport."),
    }
}

/// What a picture shows, for those who do not see it.
pub(super) fn picture(language: Language, sum: u64, highest: Option<(&str, u64)>) -> String {
    match (language, highest.filter(|(_, value)| *value > 0)) {
        (Language::English, None) => "No request.".to_owned(),
        (Language::English, Some((at, most))) => {
            format!("{sum} in all; the most, {most}, at {at}.")
        }
        (Language::French, None) => "Aucune requête.".to_owned(),
        (Language::French, Some((at, most))) => format!("{sum} en tout ; le plus, {most}, à {at}."),
    }
}

/// How many keys are not used.
pub(super) fn unused(language: Language, count: usize, shown: usize) -> String {
    let cut = match (language, count > shown) {
        (_, false) => String::new(),
        (Language::English, true) => format!(" The first {shown}:"),
        (Language::French, true) => format!(" Les {shown} premières :"),
    };
    match (language, count) {
        (Language::English, 0) => "Every active key was used in the last 30 days, or made since.".to_owned(),
        (Language::English, 1) => "1 active key older than 30 days was never used, or not in the last 30 days. A key that nobody uses is best revoked.".to_owned(),
        (Language::English, _) => format!("{count} active keys older than 30 days were never used, or not in the last 30 days. A key that nobody uses is best revoked.{cut}"),
        (Language::French, 0) => "Chaque clé active a été utilisée dans les 30 derniers jours, ou créée depuis.".to_owned(),
        (Language::French, 1) => "1 clé active de plus de 30 jours n'a jamais été utilisée, ou pas depuis 30 jours. Mieux vaut révoquer une clé dont personne ne se sert.".to_owned(),
        (Language::French, _) => format!("{count} clés actives de plus de 30 jours n'ont jamais été utilisées, ou pas depuis 30 jours. Mieux vaut révoquer une clé dont personne ne se sert.{cut}"),
    }
}

/// How many keys are shadow-revoked.
pub(super) fn shadowed(language: Language, count: usize) -> String {
    match (language, count) {
        (Language::English, 0) => "No key is shadow-revoked.".to_owned(),
        (Language::English, 1) => {
            "The requests of 1 key pass, and are counted as those that would be refused.".to_owned()
        }
        (Language::English, _) => format!(
            "The requests of {count} keys pass, and are counted as those that would be refused."
        ),
        (Language::French, 0) => "Aucune clé n'est révoquée à blanc.".to_owned(),
        (Language::French, 1) => {
            "Les requêtes de 1 clé passent, et sont comptées comme celles qui seraient refusées."
                .to_owned()
        }
        (Language::French, _) => format!(
            "Les requêtes de {count} clés passent, et sont comptées comme celles qui seraient refusées."
        ),
    }
}

/// That not every key is shown.
pub(super) fn more_keys(language: Language, count: u64) -> String {
    match language {
        Language::English => format!(
            "{count} more keys that are used less are counted in the pictures and not listed."
        ),
        Language::French => format!(
            "{count} autres clés, moins utilisées, sont comptées dans les graphiques mais pas listées."
        ),
    }
}

/// The heading over the uses of a key.
pub(super) fn usage_of(language: Language, name: &str) -> String {
    match language {
        Language::English => format!("Usage of {name}"),
        Language::French => format!("Utilisation de {name}"),
    }
}

/// How often a key was used, ever.
pub(super) fn uses(language: Language, count: u64) -> String {
    match (language, count) {
        (Language::English, 0) => "No request was accepted with it yet. Times are UTC.".to_owned(),
        (Language::English, 1) => "1 request was accepted with it. Times are UTC.".to_owned(),
        (Language::English, _) => format!("{count} requests were accepted with it. Times are UTC."),
        (Language::French, 0) => {
            "Aucune requête n'a encore été acceptée avec elle. Les heures sont en UTC.".to_owned()
        }
        (Language::French, 1) => {
            "1 requête a été acceptée avec elle. Les heures sont en UTC.".to_owned()
        }
        (Language::French, _) => {
            format!("{count} requêtes ont été acceptées avec elle. Les heures sont en UTC.")
        }
    }
}
