/* Flask-Statistics: what the dashboard does beyond links and forms. Everything works without it, only slower. */
(() => {
  "use strict";

  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const on = (name, listener, options) => document.addEventListener(name, listener, options);
  const say = (text) => { find("#fs-status").textContent = text; };

  // ---- requests: the latest one wins ----

  let latest = 0;
  let underWay = 0;
  let lastRequest = null;
  let slow = 0;

  const mark = (link) => { // at once, before the answer
    all(".asked").forEach((element) => element.classList.remove("asked"));
    if (link?.matches?.(".seg a, .tabs a, .kpi")) link.classList.add("asked");
  };

  const isOurs = (context) => context?.target?.closest?.("#fs-root");
  const isPoll = (context) => context.sourceElement?.id === "fs-poll";

  on("htmx:before:request", (event) => {
    const context = event.detail.ctx;
    if (!isOurs(context)) return;
    if (isPoll(context) && !mayPoll()) return event.preventDefault();
    context.order = ++latest;
    underWay++;
    find("#fs-error").hidden = true;
    find("#fs-main").setAttribute("aria-busy", "true");
    if (isPoll(context)) return;
    lastRequest = context;
    mark(context.sourceElement);
    clearTimeout(slow);
    slow = setTimeout(() => { find("#fs-slow").hidden = false; }, 2000);
  });

  // ---- the live view: who asks in vain says so ----

  let unanswered = 0;

  const mayPoll = () => {
    if (document.hidden || drag) unanswered = 0; // nobody asked, so nobody waits
    else if (++unanswered > 2) standStill();
    return !(underWay || document.hidden || drag);
  };
  const standStill = () => {
    const note = find("#fs-live");
    if (!note || note.classList.contains("bad")) return;
    note.classList.add("bad");
    note.textContent = `No answer since ${find(".fresh time").textContent}. The numbers are from then. `;
    const again = note.appendChild(document.createElement("a"));
    again.textContent = "Ask again";
    again.href = location.href;
    htmx.process(note);
    say(note.textContent);
  };

  on("htmx:finally:request", (event) => {
    if (!event.detail.ctx.order) return;
    underWay--;
    if (underWay) return;
    find("#fs-main").removeAttribute("aria-busy");
    clearTimeout(slow);
    find("#fs-slow").hidden = true;
    mark(null);
  });

  on("htmx:before:swap", (event) => {
    const context = event.detail.ctx;
    if (!context?.order) return;
    // htmx restores history in a queue of its own: what somebody has clicked away from can still come
    if (context.order !== latest) return event.preventDefault();
    if (context.response?.status >= 400) return;
    const main = event.detail.tasks.find((task) => task.type === "main");
    if (main && !main.fragment.childElementCount) { // a login page, or a proxy's
      event.preventDefault();
      location.assign(context.sourceElement?.href || location.href);
    }
  });

  on("htmx:after:swap", (event) => {
    const context = event.detail.ctx;
    if (!context?.order) return;
    const read = shown;
    enhance();
    unanswered = 0;
    if (isPoll(context)) return showBucket(read);
    const menu = document.activeElement.closest("details.menu");
    closeMenus();
    if (menu) find("summary", menu).focus();
    const hits = find("[data-measure=hits] .kv");
    say(`Updated: ${find(".range")?.textContent || document.title}${hits ? `, ${hits.title} hits` : ""}`);
    if (document.activeElement === document.body) (find(".chips a") || find("#fs-main")).focus({ preventScroll: true });
  });

  const fail = (context, message) => {
    if (!isOurs(context) || context.order !== latest) return;
    if (isPoll(context)) return void (unanswered > 1 && standStill());
    find("#fs-error span").textContent = `${message} The numbers shown are unchanged.`;
    find("#fs-error").hidden = false;
  };
  on("htmx:response:error", ({ detail: { ctx } }) => fail(ctx, `The server answered ${ctx.response.status}.`));
  on("htmx:error", ({ detail: { ctx } }) => fail(ctx, "Could not reach the server."));

  const go = (url) => htmx.ajax("GET", url, {
    source: find("#fs-main"), target: "#fs-main", select: "#fs-main > *", swap: "innerMorph show:none", push: "true",
  });
  const retry = () => {
    const { sourceElement, request } = lastRequest;
    if (sourceElement?.isConnected && sourceElement.href) sourceElement.click();
    else go(request.action);
  };

  // ---- menus, dialog, theme ----

  const closeMenus = (except) => all("details.menu[open]").forEach((menu) => { if (!menu.contains(except)) menu.open = false; });

  const remembered = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const remember = (name, value) => { try { localStorage.setItem(name, value); } catch { /* forgotten, then */ } };
  const lettersOff = () => remembered("fs-letters") === "off";

  const showLetters = () => {
    const button = find("#fs-letters");
    button.setAttribute("aria-pressed", !lettersOff());
    button.textContent = `Shortcuts are ${lettersOff() ? "off" : "on"}`;
  };
  const openKeys = () => { showLetters(); find("#fs-keys").showModal(); };

  const setTheme = (form, theme) => {
    document.cookie = `statistics_theme=${theme}; path=${form.dataset.path}; max-age=31536000; samesite=lax`;
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    all("button", form).forEach((button) => button.setAttribute("aria-pressed", button.value === theme));
  };

  on("submit", (event) => {
    if (event.target.id !== "fs-theme") return;
    event.preventDefault();
    setTheme(event.target, event.submitter.value);
  });

  on("click", (event) => {
    const button = event.target.closest("button");
    closeMenus(event.target);
    if (!button) return;
    if (button.closest("#fs-error")) retry();
    if (button.id === "fs-help") openKeys();
    if (button.id === "fs-letters") { remember("fs-letters", lettersOff() ? "on" : "off"); showLetters(); }
  });

  // ---- keys ----

  const isTyping = (target) => target.matches("input, select, textarea") || target.isContentEditable;

  const pressKey = (event) => {
    if (event.key === "?" && !lettersOff()) return openKeys();
    if (/^[a-z/]$/.test(event.key) && lettersOff()) return undefined;
    const control = find(`#fs-main [data-key="${CSS.escape(event.key)}"]`);
    if (!control) return undefined;
    event.preventDefault();
    if (!control.matches("input")) return control.click();
    control.closest("details").open = true;
    control.form.dim.selectedIndex = 0; // a text in the path
    return control.focus();
  };

  on("keydown", (event) => {
    if (event.key === "Escape") {
      const menu = find("details.menu[open]");
      closeMenus();
      if (menu) find("summary", menu).focus();
    }
    if (event.target.id === "fs-plot" && readChart(event)) return undefined;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || find("dialog[open]")) return undefined;
    if (isTyping(event.target) || (event.key.startsWith("Arrow") && event.target.closest(".scroll, .seg, pre"))) return undefined;
    return pressKey(event);
  });

  // ---- chart ----

  let drag = null;
  let shown = -1;
  let pointer = "";
  let tapped = "";

  const plot = () => find("#fs-plot");
  const drawn = () => find("#fs-drawn").getBoundingClientRect();
  const buckets = () => all("#fs-table tbody tr");

  const bucketAt = (x) => {
    const box = drawn();
    const number = Math.floor((x - box.left) / box.width * plot().dataset.n);
    return Math.max(0, Math.min(buckets().length - 1, number));
  };

  const describe = (row) => {
    const heads = all("#fs-table thead th").map((head) => head.textContent);
    const cells = all("td", row).map((cell, column) => `${heads[column + 1]} ${cell.textContent}`);
    return [find("th", row).textContent, ...cells];
  };

  const showBucket = (number) => {
    const row = buckets()[number];
    if (!row) return;
    shown = number;
    const { left: from, width } = drawn();
    const x = (number + 0.5) / plot().dataset.n * width;
    const tip = find("#fs-tip");
    for (const end of ["x1", "x2"]) find("#fs-cur").setAttribute(end, x);
    tip.textContent = describe(row).join("\n");
    tip.hidden = false;
    const left = x + 12 + tip.offsetWidth > width ? x - tip.offsetWidth - 12 : x + 12;
    tip.style.transform = `translate(${Math.round(from - plot().getBoundingClientRect().left + Math.max(left, 0))}px, 8px)`;
  };

  const hideBucket = () => {
    shown = -1;
    tapped = "";
    drag = null;
    if (!plot()) return;
    find("#fs-tip").hidden = true;
    for (const end of ["x1", "x2"]) find("#fs-cur").setAttribute(end, -9);
    find("#fs-sel").setAttribute("width", 0);
  };

  const zoom = (from, to) => {
    const rows = buckets();
    const first = rows[Math.min(from, to)];
    const after = rows[Math.max(from, to) + 1];
    const url = new URL(location.href);
    for (const name of ["span", "unit", "offset", "before", "after", "paused"]) url.searchParams.delete(name);
    url.searchParams.set("start", first.dataset.start);
    url.searchParams.set("end", after ? after.dataset.start : first.parentElement.dataset.end);
    const { page } = find("#fs-series").dataset;
    hideBucket();
    go(page + url.search);
  };

  const readChart = (event) => {
    const last = buckets().length - 1;
    const from = shown < 0 ? last + (event.key === "ArrowLeft" ? 1 : 0) : shown;
    const to = { ArrowLeft: Math.max(0, from - 1), ArrowRight: Math.min(last, from + 1), Home: 0, End: last }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      showBucket(to);
      say(describe(buckets()[to]).join(", "));
    } else if (event.key === "Enter" && shown >= 0) zoom(shown, shown);
    else if (event.key === "Escape") hideBucket();
    return to !== undefined || /^(Arrow|Enter|Escape)/.test(event.key);
  };

  on("pointerdown", (event) => {
    pointer = event.pointerType;
    if (event.button || event.pointerType === "touch" || !event.target.closest("#fs-plot")) return;
    drag = { from: bucketAt(event.clientX), x: event.clientX, moved: false };
    event.preventDefault();
    plot().focus({ preventScroll: true });
  });

  on("pointermove", (event) => {
    if (drag) {
      const box = drawn();
      const left = Math.max(Math.min(drag.x, event.clientX) - box.left, 0);
      const right = Math.min(Math.max(drag.x, event.clientX) - box.left, box.width);
      drag.moved ||= Math.abs(event.clientX - drag.x) > 6;
      if (drag.moved) {
        find("#fs-sel").setAttribute("x", left);
        find("#fs-sel").setAttribute("width", Math.max(right - left, 0));
      }
      showBucket(bucketAt(event.clientX));
    } else if (event.target.closest?.("#fs-plot") && !event.target.closest(".flag")) showBucket(bucketAt(event.clientX));
    else if (shown >= 0 && document.activeElement !== plot()) hideBucket();
  });

  on("pointerup", (event) => {
    if (!drag) return;
    const { from, moved } = drag;
    drag = null;
    if (!moved) return;
    on("click", (click) => { click.preventDefault(); click.stopPropagation(); }, { once: true, capture: true });
    zoom(from, bucketAt(event.clientX));
  });

  on("click", (event) => {
    const area = event.target.closest?.(".hit a, .flag[href]"); // htmx leaves links inside SVG alone
    if (!area || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const url = area.getAttribute("href");
    if (pointer !== "touch" || tapped === url || !area.matches("#fs-plot a:not(.flag)")) return go(url);
    showBucket(bucketAt(event.clientX)); // a finger cannot hover: it reads first, and zooms at the second tap
    tapped = url;
    return undefined;
  });

  on("focusout", (event) => { if (event.target.id === "fs-plot") hideBucket(); });

  // ---- texts to copy ----

  const copyButton = (label, look, text) => {
    const button = document.createElement("button");
    button.className = `btn ${look}`;
    button.textContent = label;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
      say("Copied");
    });
    return button;
  };
  const copyable = (text) => text.nextElementSibling || text.after(copyButton("Copy", "sm", () => text.textContent));
  const copyableLink = () => {
    const [place, link] = [find("#fs-under"), find("#fs-permalink")];
    if (place && link && !find("button", place)) place.append(copyButton("Copy link", "link", () => link.href));
  };

  // ---- panels that come later, one by one: a click must find a free place ----

  let asked = Promise.resolve();
  const ask = (place) => {
    const url = place.dataset.later;
    const isShown = () => place.isConnected && place.dataset.later === url;
    const fill = async () => {
      const answer = isShown() && await fetch(url);
      const text = answer && await answer.text();
      if (!isShown()) return; // the page shows something else by now
      if (answer.headers.has("Retry-After")) return load(3000); // pages come first
      const card = place.closest("section");
      if (!answer.ok || !text.includes(card.id)) throw answer; // a login page
      await htmx.swap({ text, sourceElement: card, target: card, select: `#${card.id} > *`, swap: "innerMorph" });
    };
    const failed = () => { place.textContent = "Could not be computed"; };
    const load = (after) => setTimeout(() => { asked = asked.then(fill).catch(failed); }, after);
    load(400); // not in the way of a click
  };

  const enhance = () => {
    hideBucket();
    all(".hit title").forEach((title) => title.remove()); // our tooltip says it
    find("#fs-help")?.removeAttribute("hidden");
    all("[data-later]").forEach((place) => ask(place));
    if (!navigator.clipboard) return;
    all("[data-copy]").forEach(copyable);
    copyableLink();
  };
  on("DOMContentLoaded", enhance);
})();
