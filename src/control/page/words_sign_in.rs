//! What the pages for signing in and for one's own account say, in each language.

words! {
    sign_in = "Sign in", "Se connecter";
    handle = "Login name", "Identifiant";
    handle_hint = "Usually your e-mail address.", "En général votre adresse e-mail.";
    password = "Password", "Mot de passe";
    org = "Org", "Organisation";
    org_hint = "Only needed when you have the same login name in more than one.", "Nécessaire seulement si vous avez le même identifiant dans plusieurs.";
    optional = "optional", "facultatif";
    or_provider = "or", "ou";
    with_provider = "Sign in with your identity provider", "Se connecter par votre fournisseur d'identité";
    no_password = "No password yet, or forgotten it? Ask an admin of your org for a one-time sign-in link.", "Pas encore de mot de passe, ou oublié ? Demandez un lien de connexion à usage unique à un administrateur de votre organisation.";
    welcome = "Welcome", "Bienvenue";
    welcome_lead = "Choose a password. This link then no longer works, and you are signed in.", "Choisissez un mot de passe. Ensuite ce lien ne fonctionne plus et vous êtes connecté.";
    new_password = "New password", "Nouveau mot de passe";
    new_password_hint = "At least 12 characters. A few words in a row are easy to keep in mind.", "Au moins 12 caractères. Quelques mots à la suite se retiennent bien.";
    repeat_password = "The same again", "Le même encore une fois";
    set_password = "Set password and sign in", "Définir le mot de passe et se connecter";
    link_over = "This link no longer works", "Ce lien ne fonctionne plus";
    to_sign_in = "To the sign-in page", "Vers la page de connexion";
    signed_out = "You are signed out.", "Vous êtes déconnecté.";
    ended = "Your session ended: nothing was saved. Sign in and send it again.", "Votre session a pris fin : rien n'a été enregistré. Connectez-vous et renvoyez le formulaire.";
    account = "Account", "Compte";
    name = "Name", "Nom";
    email = "E-mail", "E-mail";
    role = "Role", "Rôle";
    admin = "Admin", "Administrateur";
    standard = "Standard", "Standard";
    read_only = "Read only", "Lecture seule";
    change_password = "Change your password", "Changer de mot de passe";
    change_lead = "All your other sessions end.", "Toutes vos autres sessions prennent fin.";
    old_password = "Present password", "Mot de passe actuel";
    change = "Change password", "Changer le mot de passe";
    changed = "Your password is changed, and your other sessions have ended.", "Votre mot de passe est changé et vos autres sessions ont pris fin.";
    provider_failed = "Signing in with your identity provider did not work", "La connexion par votre fournisseur d'identité n'a pas fonctionné";
}
