// The pages work without this script. With it, a refresh leaves alone what is in use and says if it fails, and
// a form is sent once, however often it is clicked.
"use strict";

const FORM_LOCK_MS = 10000;
const PAUSED = "Not refreshed while something in it is open or selected.";
const note = document.getElementById("refresh-note");
let shownSince = new Date();

// A refresh replaces the part that asks for it, and others of the page that show the same state.
function findRefreshed(part) {
  const others = part.getAttribute("hx-select-oob");
  return [part, ...(others ? document.querySelectorAll(others) : [])];
}

function isInUse(part) {
  const selection = document.getSelection();
  const isSelected = !selection.isCollapsed && part.contains(selection.anchorNode);
  return isSelected || part.querySelector("details[open], :focus-visible") !== null;
}

function say(text) {
  if (note.textContent !== text) note.textContent = text;
}

document.addEventListener("htmx:beforeRequest", (event) => {
  if (!findRefreshed(event.detail.elt).some(isInUse)) return;
  event.preventDefault();
  say(PAUSED);
});

document.addEventListener("htmx:beforeSwap", (event) => {
  // Something was opened while the request was on its way.
  if (findRefreshed(event.detail.target).some(isInUse)) event.detail.shouldSwap = false;
});

document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful) {
    shownSince = new Date();
    say("");
  } else {
    say(`The refresh failed. This is the state of ${shownSince.toISOString().slice(11, 19)} UTC.`);
  }
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  setTimeout(() => delete form.dataset.sent, FORM_LOCK_MS);
});

window.addEventListener("pageshow", () => {
  // The back button can show the page as it was left.
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
