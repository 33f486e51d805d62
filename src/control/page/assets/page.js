// The one thing that plain HTML cannot do: copy. Without this script the text is selected and copied by hand.
// <button type="button" class="button copy" data-copy="ID OF AN ELEMENT" data-done="Copied" data-failed="..." hidden>Copy</button>
"use strict";
for (const button of document.querySelectorAll("button[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  if (!source) continue;
  const says = button.textContent;
  const status = document.createElement("span");
  status.setAttribute("role", "status");
  status.className = "copy-status";
  button.after(status);
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = source.value ?? source.textContent;
    try {
      await navigator.clipboard.writeText(text.trim());
      status.textContent = button.dataset.done;
    } catch {
      // Not allowed, or not over TLS.
      if (source.select) source.select();
      else getSelection().selectAllChildren(source);
      status.textContent = button.dataset.failed;
    }
    setTimeout(() => {
      status.textContent = "";
      button.textContent = says;
    }, 4000);
  });
}
