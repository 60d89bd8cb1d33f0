// Small comforts on top of pages that work without them.
// 1. Say before sending that a file is too large: the server says it too, but only after the upload.
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-limit]");
  if (!form || event.target.type !== "file") return;
  const total = Array.from(event.target.files).reduce((sum, file) => sum + file.size, 0);
  const message = total > Number(form.dataset.limit) ? form.dataset.tooLarge : "";
  const place = form.querySelector(".err");
  place.textContent = message;
  place.hidden = !message;
  event.target.setCustomValidity(message);
});

// 2. Close the account menu by Escape or by a click elsewhere.
document.addEventListener("keydown", (event) => {
  const menu = document.querySelector("details.account[open]");
  if (event.key === "Escape" && menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
document.addEventListener("click", (event) => {
  const menu = document.querySelector("details.account[open]");
  if (menu && !menu.contains(event.target)) menu.open = false;
});
