// What htmx does not do: clocks that tick, the live light, the "newer" bar, copy, notices.
"use strict";
(() => {
  const units = [[86400 * 2, 86400, "d"], [7200, 3600, "h"], [90, 60, "min"], [0, 1, "s"]];

  // The same words as `When` in format.rs.
  const relative = (ms) => {
    const s = Math.abs(ms) / 1000;
    if (s < 1) return "now";
    const [, unit, name] = units.find(([from]) => s >= from);
    const text = `${Math.floor(s / unit)} ${name}`;
    return ms < 0 ? `in ${text}` : `${text} ago`;
  };

  // The server's clock rules: what it said when the page was made is the offset.
  const meta = document.querySelector('meta[name="server-time"]');
  const offset = meta ? Date.now() - Number(meta.content) : 0;
  const tick = () => {
    const now = Date.now() - offset;
    for (const t of document.querySelectorAll("time[data-relative]")) {
      const text = relative(now - Date.parse(t.dateTime));
      if (t.textContent !== text) t.textContent = text;
    }
  };
  setInterval(tick, 1000);

  // A drawing of time that is wider than the screen begins at its end, which is now.
  for (const drawing of document.querySelectorAll(".chain")) drawing.scrollLeft = drawing.scrollWidth;

  const light = (state, text) => {
    const el = document.getElementById("live");
    if (!el) return;
    el.dataset.live = state;
    el.textContent = text;
  };
  const on = (name, f) => document.addEventListener(name, f);
  on("htmx:sseOpen", () => light("on", "Live"));
  on("htmx:sseError", () => light("off", "Reconnecting"));

  // A list says what it had seen when it was made; when the server has more, the bar appears.
  const newer = () => {
    const seen = document.getElementById("newest");
    const bar = document.getElementById("newer");
    if (seen && bar) bar.hidden = seen.dataset[bar.dataset.of] === bar.dataset.seen;
  };
  on("htmx:sseMessage", () => { newer(); tick(); });
  on("htmx:afterSwap", tick);

  // A page about one thing follows it: the first change at once, those within 400 ms together, and
  // what changes while an answer is on its way is asked for again, for the answer may be older.
  let last = 0, timer = null, loading = false, stale = false;
  const refresh = async () => {
    timer = null;
    stale = false;
    loading = true;
    const page = document.getElementById("page");
    const how = { source: page, target: "#page", select: "#page", swap: "outerHTML" };
    // Whoever is told of a failure is told by the handlers below.
    await htmx.ajax("GET", page.dataset.follow, how).catch(() => {});
    loading = false;
    last = Date.now();
    if (stale) follow();
  };
  const follow = () => {
    if (!document.querySelector("#page[data-follow]")) return;
    stale = true;
    if (timer || loading) return;
    timer = setTimeout(refresh, Math.max(0, last + 400 - Date.now()));
  };
  on("acted", follow);

  // Rows of every job that changed arrive; only those that this page shows are put in place.
  on("htmx:sseBeforeMessage", (e) => {
    if (e.detail.type === "lead") follow();
    if (e.detail.type !== "row") return;
    e.preventDefault();
    follow();
    const parsed = document.createElement("template");
    parsed.innerHTML = e.detail.data;
    for (const row of [...parsed.content.querySelectorAll("tr[id]")]) {
      row.removeAttribute("hx-swap-oob");
      const shown = document.getElementById(row.id);
      if (!shown) continue;
      shown.replaceWith(row);
      htmx.process(row);
    }
    tick();
  });

  const notice = (text) => {
    const p = document.createElement("p");
    p.className = "notice bad";
    p.setAttribute("role", "alert");
    p.textContent = text;
    document.getElementById("notices")?.replaceChildren(p);
  };
  on("htmx:sendError", () => notice("The server did not answer. Nothing was changed; try again."));
  on("htmx:responseError", (e) => {
    if (!e.detail.xhr.responseText.includes('id="notices"')) {
      notice(`The server answered ${e.detail.xhr.status}. Reload the page and try again.`);
    }
  });

  on("click", (e) => {
    const button = e.target.closest("[data-copy]");
    if (!button) return;
    navigator.clipboard?.writeText(document.getElementById(button.dataset.copy).textContent.trim());
    button.textContent = "Copied";
  });
  // htmx asks by itself; these are plain forms.
  on("submit", (e) => {
    const question = e.target.dataset.confirm;
    if (question && !window.confirm(question)) e.preventDefault();
  });
  on("change", (e) => {
    if (e.target.matches("select[data-submit]")) e.target.form.requestSubmit();
  });
})();
