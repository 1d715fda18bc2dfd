// The tools of the retouch page, on top of sheet.js: paint, fill and erase, undo, zoom, people, captions.
//
// The labels of the item that is seen large are painted on in place. `touched` remembers what was painted (a label, or
// `UNTOUCHED`) since the item was opened, and all of it is sent after each stroke: the server puts it on the mask as it
// was when the item was opened. So undoing everything gives back the very file.
"use strict";

const retouch = (() => {
  const { numbers, untouched: UNTOUCHED, leftOut: LEFT_OUT, people: HAS_PEOPLE } = sheet.facts.retouch;
  const element = (id) => document.getElementById(id);
  const MOST_ZOOM = 16;
  const SIZES = [2, 400]; // diameter of the brush, in points of the screen
  const MOST_UNDO = 200; // strokes that can be undone
  const SHUT = "This address was shut; what you see was not saved. Open the address that the command printed.";

  const tool = { name: HAS_PEOPLE ? "only" : "brush", label: 1, size: 40 };
  let work = null; // the open item: {item, labels, touched, base, version, undone, done, isDue}
  let stroke = null; // what is being painted: {before, label, last, box}
  let pan = null;
  let people = null; // who is in the photo: {labels, count, places}
  let remaking = 0; // how many answers are awaited that bring the open item another mask

  // --- Asking the server ----------------------------------------------------------------------------------------

  async function ask(path, options = {}) {
    let answer;
    try {
      answer = await fetch(path, { ...options, credentials: "omit", redirect: "error" });
    } catch {
      throw new Error("The server does not answer: was the command ended? What you see was not saved.");
    }
    const told = await answer.json().catch(() => ({}));
    if (answer.status === 404 || answer.status === 410) told.problem ||= SHUT;
    if (!answer.ok) throw Object.assign(new Error(told.problem || `The server refused: ${answer.status}`), { status: answer.status });
    return told;
  }

  function post(path, value) {
    return ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });
  }

  function pathOf(item, what) {
    return `items/${numbers[item.index]}/${what}`;
  }

  async function pictures(item, { isLarge }) {
    if (isLarge) {
      release();
      element("caption").disabled = true;
      await saved();
    }
    const told = await ask(pathOf(item, isLarge ? "pictures?large" : "pictures"));
    if (isLarge) Object.assign(item, { version: told.version, caption: told.caption });
    return told.pictures.map(sheet.blobOf);
  }

  // --- Saving: one change after another, in the background ------------------------------------------------------

  let queue = Promise.resolve();
  let waiting = 0;
  let hasFailed = false;

  /** Do something after what was asked before is done; tell what became of it. */
  function later(action) {
    if (!waiting) hasFailed = false;
    waiting += 1;
    if (!hasFailed) say("Saving …");
    queue = queue.then(action).then(
      () => settle("Saved"),
      (error) => settle(error.message, error),
    );
  }

  /** Do something later that brings the open item another mask. Until then it is not painted on: that would be lost. */
  function remake(action) {
    setRemaking(1);
    later(() => action().finally(() => setRemaking(-1)));
    if (!hasFailed) say("The mask is made anew …");
  }

  function setRemaking(by) {
    remaking += by;
    element("stage").toggleAttribute("data-busy", remaking > 0);
    element("stage").setAttribute("aria-busy", remaking > 0);
    showTools();
    showBrush();
  }

  function settle(text, error) {
    waiting -= 1;
    hasFailed ||= Boolean(error);
    if (error) say(text, { isAlarm: true, mayReopen: error.status === 409 });
    else if (!waiting && !hasFailed) say(text);
  }

  function saved() {
    return queue;
  }

  function say(text, { isAlarm = false, mayReopen = false } = {}) {
    element("saved").textContent = text;
    element("saved").classList.toggle("alarm", isAlarm);
    element("reopen").hidden = !mayReopen;
  }

  /**
   * Save what was painted on the open item. A save that still waits for its turn takes later strokes along: one of a
   * large photo takes seconds, and quick strokes would leave the page minutes behind.
   */
  function saveMask() {
    const mine = work;
    if (mine.isDue) return;
    mine.isDue = true;
    later(async () => {
      mine.isDue = false;
      const query = new URLSearchParams({ base: mine.base, expected: mine.version });
      const told = await ask(pathOf(mine.item, `mask?${query}`), {
        method: "POST",
        headers: { "content-type": "application/octet-stream" },
        body: await deflated(mine.touched.slice()),
      });
      await changed(mine, told);
    });
  }

  /** Take over what the server says of an item after a change. */
  async function changed(mine, told) {
    mine.version = told.version;
    Object.assign(mine.item, { measures: told.measures, remarks: told.remarks });
    sheet.refresh(mine.item);
    if (mine !== work) return;
    const grid = await sheet.valuesOf(sheet.blobOf(told.grid));
    if (mine === work) sheet.drawGrid(element("large-grid"), grid);
  }

  /** Return bytes deflated. */
  function deflated(bytes) {
    return new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"))).blob();
  }

  // --- Opening an item ------------------------------------------------------------------------------------------

  function opened(large) {
    const { item, labels } = large;
    const touched = new Uint8Array(labels.values.length).fill(UNTOUCHED);
    work = { item, labels, touched, base: item.version, version: item.version, done: [], undone: [], isDue: false };
    sheet.part = sheet.WHOLE;
    people = null;
    stroke = null;
    showCaption(item);
    tellRefused("");
    element("caption").disabled = false;
    if (!waiting && !hasFailed) say("");
    showTools();
    if (HAS_PEOPLE) findPeople(item);
  }

  /** Whether the item that was opened last is the one that is seen: the next one may still be loading, or fail to. */
  function isShown() {
    return work !== null && sheet.large?.item === work.item;
  }

  /** Whether the item that is seen may be changed: no other mask of it is on its way. */
  function mayChange() {
    return isShown() && !remaking;
  }

  async function findPeople(item) {
    element("people-count").textContent = "looking for people …";
    try {
      const told = await ask(pathOf(item, "people"));
      const labels = await sheet.valuesOf(sheet.blobOf(told.labels));
      if (work?.item !== item) return;
      people = { labels, count: told.count, places: told.places };
      element("people-count").textContent = told.count === 1 ? "1 person" : `${told.count} people`;
      sheet.drawLarge();
    } catch (error) {
      element("people-count").textContent = error.message;
    }
  }

  // --- Painting -------------------------------------------------------------------------------------------------

  /** Return where an event is on the photo, in pixels of the labels. */
  function placeOf(event) {
    const [across, down] = shareOf(event);
    const { left, top, share } = sheet.part;
    const { width, height } = work.labels;
    return [(left + across * share) * width, (top + down * share) * height];
  }

  /** Return how many pixels of the labels a point of the screen is. */
  function pixelsPerPoint() {
    const box = element("large-picture").getBoundingClientRect();
    return (sheet.part.share * work.labels.width) / box.width;
  }

  function begin() {
    const { labels, touched } = work;
    return { labels: labels.values.slice(), touched: touched.slice(), box: null };
  }

  function dab(x, y, label) {
    const { width, height } = work.labels;
    const radius = Math.max(0.5, (tool.size / 2) * pixelsPerPoint());
    const [left, right] = [Math.max(0, Math.ceil(x - radius)), Math.min(width - 1, Math.floor(x + radius))];
    const [top, bottom] = [Math.max(0, Math.ceil(y - radius)), Math.min(height - 1, Math.floor(y + radius))];
    for (let row = top; row <= bottom; row++) {
      for (let column = left; column <= right; column++) {
        if ((column - x) ** 2 + (row - y) ** 2 > radius ** 2) continue;
        put(row * width + column, label);
      }
    }
  }

  function put(at, label) {
    work.labels.values[at] = label;
    work.touched[at] = label;
  }

  function line(from, to, label) {
    const apart = Math.hypot(to[0] - from[0], to[1] - from[1]);
    const steps = Math.max(1, Math.ceil(apart / Math.max(1, (tool.size / 8) * pixelsPerPoint())));
    for (let step = 1; step <= steps; step++) {
      const share = step / steps;
      dab(from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share, label);
    }
  }

  /** Give the connected area of one label around a place another label. */
  function fill(x, y, label) {
    const { width, height, values } = work.labels;
    const start = Math.floor(y) * width + Math.floor(x);
    const old = values[start];
    if (old === label || old === undefined) return false;
    const ahead = [start];
    while (ahead.length) {
      const at = ahead.pop();
      if (values[at] !== old) continue;
      put(at, label);
      const column = at % width;
      if (column > 0) ahead.push(at - 1);
      if (column < width - 1) ahead.push(at + 1);
      if (at >= width) ahead.push(at - width);
      if (at < width * (height - 1)) ahead.push(at + width);
    }
    return true;
  }

  /** Remember what changed since `before`, and save it. */
  function finish(before) {
    const { labels, touched } = work;
    const changes = [];
    for (let at = 0; at < touched.length; at++) {
      if (before.touched[at] !== touched[at] || before.labels[at] !== labels.values[at]) changes.push(at);
    }
    if (!changes.length) return;
    const places = Uint32Array.from(changes);
    const at = (values) => Uint8Array.from(places, (place) => values[place]);
    work.done.push({
      places,
      before: { labels: at(before.labels), touched: at(before.touched) },
      after: { labels: at(labels.values), touched: at(touched) },
    });
    if (work.done.length > MOST_UNDO) work.done.shift();
    work.undone = [];
    after();
  }

  function after() {
    showTools();
    sheet.drawLarge();
    saveMask();
  }

  function undo() {
    replay(work?.done, work?.undone, "before");
  }

  function redo() {
    replay(work?.undone, work?.done, "after");
  }

  function replay(from, to, which) {
    const change = mayChange() ? from.pop() : undefined;
    if (!change) return;
    to.push(change);
    change.places.forEach((at, index) => {
      work.labels.values[at] = change[which].labels[index];
      work.touched[at] = change[which].touched[index];
    });
    after();
  }

  /** Give every pixel weight 0, also where the background has another one: training leaves such an item out. */
  function leaveOut() {
    if (!mayChange()) return;
    const before = begin();
    work.labels.values.fill(0);
    work.touched.fill(LEFT_OUT);
    finish(before);
  }

  // --- People ---------------------------------------------------------------------------------------------------

  function choosePerson(event, isSubject) {
    if (!people) return;
    const [x, y] = placeOf(event);
    const across = Math.floor((x / work.labels.width) * people.labels.width);
    const down = Math.floor((y / work.labels.height) * people.labels.height);
    const person = people.labels.values[down * people.labels.width + across];
    if (!person) return say("Nobody was found there; paint the outline instead.");
    choose(person, isSubject);
  }

  /** Tell the server who is, or is not, the subject; person 0 takes all answers back. */
  function choose(person, isSubject) {
    if (!mayChange()) return;
    const mine = work;
    remake(async () => {
      const before = mine.version;
      const told = await post(pathOf(mine.item, "person"), { person, is_subject: isSubject, expected: before });
      await changed(mine, told);
      if (mine === work) await reopen(before);
    });
  }

  function takeAnew() {
    if (mayChange()) remake(() => reopen(work.version));
  }

  /** Show the item as its files are now; a mask that is still the version `seen` keeps its strokes. */
  async function reopen(seen) {
    const { item } = work;
    const told = await ask(pathOf(item, "pictures?large"));
    const labels = await sheet.valuesOf(sheet.blobOf(told.pictures[1]));
    if (work.item !== item) return;
    takeCaption(item, told.caption);
    if (told.version === seen) return say("");
    work.labels.values.set(labels.values);
    work.touched.fill(UNTOUCHED);
    Object.assign(work, { base: told.version, version: told.version, done: [], undone: [] });
    say("");
    showTools();
    sheet.drawLarge();
  }

  /** Outline and number everybody who was found, where there is somebody to choose between. */
  function drawPeople(canvas) {
    if (!people || people.count < 2) return;
    const { width, height } = canvas;
    const { left, top, share } = sheet.part;
    const context = canvas.getContext("2d");
    const image = context.getImageData(0, 0, width, height);
    const here = new Uint8Array(width * height);
    for (let y = 0, at = 0; y < height; y++) {
      const row = Math.floor((top + (y / height) * share) * people.labels.height) * people.labels.width;
      for (let x = 0; x < width; x++, at++) {
        here[at] = people.labels.values[row + Math.floor((left + (x / width) * share) * people.labels.width)];
      }
    }
    sheet.drawOutline(image.data, here, width, height);
    context.putImageData(image, 0, 0);
    drawNumbers(context, canvas);
  }

  function drawNumbers(context, canvas) {
    const radius = 14 * sheet.scale();
    context.font = `bold ${radius}px sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    people.places.forEach(([across, down], index) => {
      const x = ((across - sheet.part.left) / sheet.part.share) * canvas.width;
      const y = ((down - sheet.part.top) / sheet.part.share) * canvas.height;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fillStyle = "#000c";
      context.fill();
      context.lineWidth = sheet.scale() * 2;
      context.strokeStyle = "#fff";
      context.stroke();
      context.fillStyle = "#fff";
      context.fillText(String(index + 1), x, y);
    });
  }

  // --- Zoom and pan ---------------------------------------------------------------------------------------------

  function zoom(factor, [across, down] = [0.5, 0.5]) {
    const { left, top, share } = sheet.part;
    const smaller = Math.min(1, Math.max(1 / MOST_ZOOM, share / factor));
    move(left + (share - smaller) * across, top + (share - smaller) * down, smaller);
  }

  function move(left, top, share = sheet.part.share) {
    const within = (value) => Math.min(1 - share, Math.max(0, value));
    sheet.part = { left: within(left), top: within(top), share };
    sheet.drawLarge();
    showBrush();
  }

  function shareOf(event) {
    const box = element("large-picture").getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  // --- Pointer and keys -----------------------------------------------------------------------------------------

  function press(event) {
    if (!isShown()) return;
    element("large-picture").setPointerCapture(event.pointerId);
    event.preventDefault();
    element("large").focus();
    if (event.button === 1 || tool.name === "move") {
      pan = { from: shareOf(event), part: sheet.part };
      return;
    }
    if (event.button !== 0 || !mayChange()) return;
    if (tool.name === "only" || tool.name === "not") return choosePerson(event, tool.name === "only");
    const place = placeOf(event);
    const before = begin();
    if (tool.name === "fill") {
      if (fill(...place, tool.label)) finish(before);
      return;
    }
    stroke = { before, label: tool.label, last: place };
    dab(...place, tool.label);
    redrawSoon();
  }

  function drag(event) {
    showBrush(event);
    if (pan) {
      const [across, down] = shareOf(event);
      move(
        pan.part.left + (pan.from[0] - across) * pan.part.share,
        pan.part.top + (pan.from[1] - down) * pan.part.share,
      );
    }
    if (!stroke) return;
    for (const step of event.getCoalescedEvents?.() ?? [event]) {
      const place = placeOf(step);
      line(stroke.last, place, stroke.label);
      stroke.last = place;
    }
    redrawSoon();
  }

  function release() {
    pan = null;
    if (!stroke) return;
    const { before } = stroke;
    stroke = null;
    finish(before);
  }

  let isDue = false;

  function redrawSoon() {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      sheet.drawLarge();
    });
  }

  function wheel(event) {
    event.preventDefault();
    const isUp = event.deltaY < 0;
    if (event.ctrlKey || event.metaKey) zoom(isUp ? 1.25 : 0.8, shareOf(event));
    else resize(isUp ? 1.15 : 1 / 1.15);
  }

  function resize(factor) {
    setSize(tool.size * factor);
  }

  function setSize(size) {
    tool.size = Math.min(SIZES[1], Math.max(SIZES[0], size));
    element("size").value = Math.round(tool.size);
    showBrush();
  }

  let pointer = null;

  /** Show how large the brush is where the pointer is. */
  function showBrush(event) {
    if (event) pointer = { x: event.clientX, y: event.clientY };
    const ring = element("brush-ring");
    ring.hidden = !pointer || tool.name !== "brush" || remaking > 0;
    if (ring.hidden) return;
    const stage = element("stage").getBoundingClientRect();
    ring.style.width = ring.style.height = `${tool.size}px`;
    ring.style.left = `${pointer.x - stage.left - tool.size / 2}px`;
    ring.style.top = `${pointer.y - stage.top - tool.size / 2}px`;
  }

  function key(event) {
    if (!element("large").open || event.target.matches("textarea, input[type=search], input[type=text]")) return;
    // AltGr, with which some keyboards write brackets, looks like Ctrl and Alt.
    const isAltGr = event.getModifierState("AltGraph");
    const isCommand = (event.ctrlKey || event.metaKey) && !isAltGr;
    if (isCommand && event.key.toLowerCase() === "z") (event.shiftKey ? redo : undo)();
    else if (isCommand && event.key.toLowerCase() === "y") redo();
    else if (isCommand || (event.altKey && !isAltGr)) return;
    else if (/^[1-9]$/.test(event.key) && Number(event.key) <= sheet.facts.legend.length) setLabel(Number(event.key));
    else if (event.key in KEYS) KEYS[event.key]();
    else return;
    event.preventDefault();
  }

  const KEYS = {
    e: () => setLabel(0),
    d: () => setTool("brush"),
    f: () => setTool("fill"),
    m: () => setTool("move"),
    u: undo,
    r: redo,
    "[": () => resize(1 / 1.15),
    "]": () => resize(1.15),
    "+": () => zoom(1.25),
    "-": () => zoom(0.8),
    0: () => move(0, 0, 1),
  };

  function setTool(name) {
    tool.name = name;
    showTools();
    showBrush();
  }

  function setLabel(label) {
    tool.label = label;
    if (tool.name !== "fill") tool.name = "brush";
    showTools();
    showBrush();
  }

  // --- Tools ----------------------------------------------------------------------------------------------------

  function button(text, title, action, name) {
    const made = sheet.made("button", "", text);
    made.type = "button";
    made.title = title;
    if (name) made.dataset.tool = name;
    made.addEventListener("click", () => {
      action();
      element("large").focus();
    });
    return made;
  }

  function row(...parts) {
    const made = sheet.made("div", "tool-row");
    made.append(...parts);
    return made;
  }

  function makeTools() {
    const box = sheet.made("div", "");
    box.id = "retouch";
    const tiers = sheet.facts.legend.map(({ name, colour }, at) => {
      // The legend has a tier's value, too, "face 255"; the buttons are in one line without it.
      const made = button(name.replace(/ \d+$/, ""), `Paint ${name} (${at + 1})`, () => setLabel(at + 1));
      made.dataset.label = at + 1;
      const patch = sheet.made("i", "");
      patch.style.background = `rgb(${colour.join()})`;
      made.prepend(patch);
      return made;
    });
    const eraser = button("Eraser", "Paint background (e)", () => setLabel(0));
    eraser.dataset.label = 0;
    const size = sheet.made("input", "");
    Object.assign(size, { type: "range", id: "size", min: SIZES[0], max: SIZES[1], value: tool.size });
    size.setAttribute("aria-label", "Size of the brush");
    size.addEventListener("input", () => setSize(Number(size.value)));
    // Arrow keys go to the next item again.
    size.addEventListener("change", () => element("large").focus());
    const saved = sheet.made("span", "", "");
    saved.id = "saved";
    saved.setAttribute("role", "status");
    const again = button("Show it anew", "Show the mask as its file is now", takeAnew);
    again.id = "reopen";
    again.hidden = true;
    const who = sheet.made("span", "", "");
    who.id = "people-count";
    box.append(
      row(...tiers, eraser),
      row(
        button("Brush", "Paint (d)", () => setTool("brush"), "brush"),
        button("Fill", "Fill a connected area (f)", () => setTool("fill"), "fill"),
        button("Move", "Move the photo (m, or the middle button)", () => setTool("move"), "move"),
        size,
      ),
      row(
        button("Undo", "Undo (u, Ctrl+Z)", undo, "undo"),
        button("Redo", "Redo (r, Ctrl+Shift+Z)", redo, "redo"),
        button("−", "Smaller (-, Ctrl and wheel)", () => zoom(0.8)),
        button("+", "Larger (+, Ctrl and wheel)", () => zoom(1.25)),
        button("Whole", "The whole photo (0)", () => move(0, 0, 1)),
        button("Leave out", "Weight 0 everywhere: training leaves the photo out", leaveOut),
      ),
    );
    if (HAS_PEOPLE) {
      box.prepend(
        row(
          button("Only this person", "Click on the subject", () => setTool("only"), "only"),
          button("Not this person", "Click on somebody else", () => setTool("not"), "not"),
          button("As found", "Take the answers back", () => choose(0, false)),
          who,
        ),
      );
    }
    box.append(row(saved, again));
    return box;
  }

  function showTools() {
    for (const made of document.querySelectorAll("#retouch [data-label]")) {
      const isOn = (tool.name === "brush" || tool.name === "fill") && Number(made.dataset.label) === tool.label;
      made.setAttribute("aria-pressed", isOn);
    }
    for (const name of ["brush", "fill", "move", "only", "not"]) {
      const made = document.querySelector(`#retouch [data-tool=${name}]`);
      made?.setAttribute("aria-pressed", tool.name === name);
    }
    document.querySelector("[data-tool=undo]").disabled = !work?.done.length || remaking > 0;
    document.querySelector("[data-tool=redo]").disabled = !work?.undone.length || remaking > 0;
    element("stage").dataset.tool = tool.name;
  }

  function makeCaption() {
    const area = sheet.made("textarea", "");
    area.id = "caption";
    area.dir = "auto";
    area.rows = 4;
    area.placeholder = "No caption";
    area.setAttribute("aria-label", "Caption");
    area.addEventListener("change", () => {
      const { item } = work;
      const text = area.value;
      later(async () => {
        const told = await post(pathOf(item, "caption"), { text, expected: item.caption });
        item.caption = told.caption;
      });
    });
    return area;
  }

  function makeRefused() {
    const made = sheet.made("p", "remarks", "");
    made.id = "refused";
    return made;
  }

  function showCaption(item) {
    element("caption").value = item.caption ?? "";
  }

  function tellRefused(text) {
    element("refused").textContent = text && `Not saved, to copy from: ${text}`;
  }

  /** Show the caption as its file is now; one that was written here and refused stays to be read. */
  function takeCaption(item, caption) {
    const area = element("caption");
    const isTyped = area.value.trim() !== (item.caption ?? "");
    if (isTyped && area === document.activeElement) return; // it is still being written
    item.caption = caption;
    if (isTyped) tellRefused(area.value.trim());
    showCaption(item);
  }

  // --- Another tab ----------------------------------------------------------------------------------------------

  function noticeOtherTabs() {
    const channel = new BroadcastChannel("blissmask retouch");
    channel.addEventListener("message", ({ data }) => {
      if (data === "opened") channel.postMessage("open already");
      element("other-tab").hidden = false;
    });
    channel.postMessage("opened");
  }

  function start() {
    Object.assign(sheet, { pictures, opened, drawn: drawPeople, failed: (error) => say(error.message, { isAlarm: true }) });
    element("side").prepend(makeTools());
    element("large-caption").after(makeCaption(), makeRefused());
    const ring = sheet.made("div", "");
    ring.id = "brush-ring";
    ring.hidden = true;
    element("stage").append(ring);
    const end = button("Finish", "End the command; everything is saved", endRun);
    const notice = sheet.made("p", "remarks", "This page is open in another tab, too: what you change there is seen here when an item is opened again.");
    notice.id = "other-tab";
    notice.hidden = true;
    element("tools").append(end);
    document.querySelector(".keys").prepend("Click on a photo to mend its mask; all is saved at once. ");
    element("tools").after(notice);
    const canvas = element("large-picture");
    canvas.addEventListener("pointerdown", press);
    canvas.addEventListener("pointermove", drag);
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", () => (ring.hidden = true));
    canvas.addEventListener("wheel", wheel, { passive: false });
    document.addEventListener("keydown", key, true);
    window.addEventListener("beforeunload", (event) => {
      element("caption").blur(); // a caption is saved when it is left: who closes the page while typing would lose it
      if (waiting || hasFailed) event.preventDefault();
    });
    showTools();
    noticeOtherTabs();
  }

  async function endRun() {
    await saved();
    if (hasFailed && !confirm("The last change was not saved. End the command all the same?")) return;
    try {
      await post("finish", {});
    } catch (error) {
      // The server may be gone before it has answered. One that refuses goes on.
      if (error.status) return alert(error.message);
    }
    const what = hasFailed ? "Finished; the last change was not saved." : "Finished: everything is saved.";
    hasFailed = false;
    document.body.replaceChildren(sheet.made("p", "nothing", `${what} This page can be closed.`));
  }

  return { start, get work() { return work; }, get isSaving() { return waiting > 0; } };
})();

document.addEventListener("DOMContentLoaded", retouch.start);
