"use strict";
// Fetches the page anew and puts its content in the place of what is shown; what was opened stays open.
const EVERY_MS = 2000;
let times = 0;

async function refresh() {
  try {
    const answer = await fetch("/", { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const open = new Set([...document.querySelectorAll("details[open]")].map((one) => one.id));
    const main = page.querySelector("main");
    for (const one of main.querySelectorAll("details")) one.open = open.has(one.id);
    document.querySelector("main").replaceWith(main);
    document.body.classList.remove("stale");
    document.body.dataset.refreshed = ++times;
  } catch {
    document.body.classList.add("stale");
  }
  setTimeout(refresh, EVERY_MS);
}

setTimeout(refresh, EVERY_MS);
