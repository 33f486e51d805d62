//! What the pages say, in each language, side by side. Why something is refused is said by `keys::refusal`.

/// Words in English and French. Makes `Words`, whose fields they are, and `words(language)`. Every file of words has its own.
macro_rules! words {
    ($($name:ident = $english:literal, $french:literal;)*) => {
        /// What is said, in one language.
        pub struct Words {
            $(pub $name: &'static str,)*
        }

        /// In this language.
        pub const fn words(language: $crate::keys::refusal::Language) -> &'static Words {
            match language {
                $crate::keys::refusal::Language::English => &Words { $($name: $english,)* },
                $crate::keys::refusal::Language::French => &Words { $($name: $french,)* },
            }
        }
    };
}

words! {
    // The shell.
    skip = "Skip to the content", "Aller au contenu";
    navigation = "Main", "Principale";
    integrations = "Integrations", "Intégrations";
    apis = "APIs", "API";
    organization = "Org", "Organisation";
    more = "More", "Autres";
    api_keys = "API keys", "Clés d'API";
    application_keys = "Application keys", "Clés d'application";
    client_tokens = "Client tokens", "Jetons client";
    users = "Users", "Utilisateurs";
    service_accounts = "Service accounts", "Comptes de service";
    usage = "Usage", "Utilisation";
    fleet = "Fleet", "Nœuds";
    audit_log = "Audit log", "Journal d'audit";
    account = "Account", "Compte";
    signed_in_as = "Signed in as", "Connecté en tant que";
    sign_out = "Sign out", "Se déconnecter";
    appearance = "Language and colours", "Langue et couleurs";
    language = "Language", "Langue";
    theme = "Colours", "Couleurs";
    theme_system = "As the system", "Selon le système";
    theme_light = "Light", "Clair";
    theme_dark = "Dark", "Sombre";
    apply = "Apply", "Appliquer";
    copy = "Copy", "Copier";
    copied = "Copied", "Copié";
    copy_failed = "Select and copy it by hand", "Sélectionnez et copiez à la main";

    // Trouble.
    to_start = "To the start page", "Vers la page d'accueil";
    trouble = "This did not work", "Cela n'a pas fonctionné";
    bad_request = "This request cannot be understood", "Cette requête est incompréhensible";
    bad_request_more = "A field is missing or holds something that it cannot. Go back, reload the page and try again.", "Un champ manque ou contient une valeur impossible. Revenez en arrière, rechargez la page et réessayez.";
    forbidden = "This form is not from here", "Ce formulaire ne vient pas d'ici";
    forbidden_more = "It was sent by another site, or you have signed in again since it was shown. Go back, reload the page and try again.", "Il a été envoyé par un autre site, ou vous vous êtes reconnecté depuis son affichage. Revenez en arrière, rechargez la page et réessayez.";
    not_permitted = "You may not do this", "Vous ne pouvez pas faire cela";
    not_found = "There is nothing here", "Il n'y a rien ici";
    not_found_more = "The address is wrong, or what was here is not yours to see.", "L'adresse est erronée, ou ce qui était ici n'est pas visible pour vous.";
    bad_method = "This address does not work like that", "Cette adresse ne fonctionne pas ainsi";
    bad_method_more = "Open it from the page that leads here.", "Ouvrez-la depuis la page qui mène ici.";
    conflict = "This cannot be done as things are", "Cela est impossible en l'état";
    too_large = "This is too large", "C'est trop volumineux";
    too_large_more = "A form here has at most one megabyte. Give less.", "Un formulaire a ici au plus un mégaoctet. Donnez-en moins.";
    too_many = "Too many attempts", "Trop de tentatives";
    failed = "Something failed inside the server", "Une erreur s'est produite dans le serveur";
    failed_more = "It is not known whether what you asked for has happened: look before you try again.", "On ne sait pas si votre demande a abouti : vérifiez avant de réessayer.";
    unavailable = "The store cannot be reached", "Le magasin de clés est injoignable";
    unavailable_more = "Keys keep working, but nothing can be shown or changed now. Try again in a moment.", "Les clés continuent de fonctionner, mais rien ne peut être affiché ni modifié. Réessayez dans un instant.";
    unknown = "It is not known what came of this", "On ne sait pas ce qu'il en est advenu";
    unknown_more = "The change was sent to the store, and it may be in force or not: look before you try again.", "La modification a été envoyée ; elle peut être en vigueur ou non : vérifiez avant de réessayer.";
    timeout = "This took too long", "Cela a pris trop de temps";
    timeout_more = "It may still happen: look before you try again.", "Cela peut encore aboutir : vérifiez avant de réessayer.";
    no_fleet = "There is no fleet here", "Il n'y a pas de flotte ici";
    no_fleet_more = "The store is a file of one server.", "Le magasin est un fichier d'un seul serveur.";
    request_id = "Request", "Requête";
}
