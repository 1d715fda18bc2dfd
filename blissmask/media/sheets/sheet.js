// The script of a contact sheet: cards that are drawn when they are seen, and one item seen large.
//
// The page holds facts about the items as JSON, and three pictures of each: its photo; labels (0 is darkened, n has the
// n-th colour of the legend, `facts.plain` is shown as it is); and its weights on the latent grid, 0 to 255. The latter
// two are no pictures for the browser, see `deflate_values` in card.py. `draw_labels` in media/overlay.py draws the same
// for PNG pages.
"use strict";

const sheet = (() => {
  const facts = JSON.parse(document.getElementById("sheet").textContent);
  const element = (id) => document.getElementById(id);
  const items = facts.items.map((item, index) => ({ ...item, index, seen: false, card: null }));
  const view = { hidden: new Set(), outline: true, plain: false };
  let shown = items; // what the filter leaves, in order
  let large = null; // what is seen large: {item, photo, labels, grid}

  const BOX = 208; // pixels of the longer side of a picture on a card, as on PNG pages
  const NOBODY = 254; // stands for labels that are switched off
  const WHOLE = { left: 0, top: 0, share: 1 }; // the part of a photo that is seen
  const MOST_ENLARGED = 3; // a small photo is shown up to this many times as large

  // --- Pictures -------------------------------------------------------------------------------------------------

  /** Return the three encoded pictures of an item as blobs; the retouch page replaces this by one that asks a server. */
  function storedPictures(item) {
    return element(`pictures-${item.index}`).textContent.split(" ").map(blobOf);
  }

  function blobOf(text) {
    return new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
  }

  /** Decode the pictures of an item, as a card shows them or, with `isLarge`, as it is seen large. */
  async function decoded(item, { isLarge }) {
    const blobs = await page.pictures(item, { isLarge });
    const [labels, grid] = await Promise.all([valuesOf(blobs[1]), valuesOf(blobs[2])]);
    return { item, photo: await createImageBitmap(blobs[0]), labels, grid };
  }

  /** Return deflated values, one byte a pixel. */
  async function valuesOf(blob) {
    const stream = blob.stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const [width, height] = [bytes[0] + 256 * bytes[1], bytes[2] + 256 * bytes[3]];
    return { width, height, values: bytes.subarray(4) };
  }

  /** Return what to multiply a colour with, and then what to add to its parts, for each label as the view has it now. */
  function tints() {
    const table = new Float32Array(4 * 256);
    for (let label = 0; label < 256; label++) table[4 * label] = 1;
    if (!view.hidden.has(0)) table[0] = facts.dimmed;
    facts.legend.forEach(({ colour }, at) => {
      if (!view.hidden.has(at + 1)) table.set([1 - facts.tint, ...colour.map((part) => part * facts.tint)], 4 * (at + 1));
    });
    return table;
  }

  /** Fill a canvas with a part of the photo (in shares of its sides), tinted by label and outlined. */
  function drawOverlay(canvas, photo, labels, part = WHOLE) {
    const { width, height } = canvas;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const corner = [part.left * photo.width, part.top * photo.height];
    context.drawImage(photo, ...corner, part.share * photo.width, part.share * photo.height, 0, 0, width, height);
    if (view.plain) return;
    const image = context.getImageData(0, 0, width, height);
    const rgba = image.data;
    const table = tints();
    const columns = Int32Array.from({ length: width }, (_, x) => Math.floor((part.left + (x / width) * part.share) * labels.width));
    const here = new Uint8Array(width * height);
    const shownAs = Uint8Array.from({ length: 256 }, (_, label) => (view.hidden.has(label) ? NOBODY : label));
    for (let y = 0, at = 0; y < height; y++) {
      const row = Math.floor((part.top + (y / height) * part.share) * labels.height) * labels.width;
      for (let x = 0; x < width; x++, at++) {
        const label = labels.values[row + columns[x]];
        const factor = table[4 * label];
        here[at] = shownAs[label];
        rgba[4 * at] = rgba[4 * at] * factor + table[4 * label + 1];
        rgba[4 * at + 1] = rgba[4 * at + 1] * factor + table[4 * label + 2];
        rgba[4 * at + 2] = rgba[4 * at + 2] * factor + table[4 * label + 3];
      }
    }
    if (view.outline) drawOutline(rgba, here, width, height);
    context.putImageData(image, 0, 0);
  }

  /** Draw where labels meet: white with black on both sides, which stands out from pale skin and from dark hair. */
  function drawOutline(rgba, here, width, height) {
    const thick = Math.max(1, Math.round(scale()));
    const line = new Uint8Array(width * height);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const at = y * width + x;
        const meets = (x + 1 < width && here[at] !== here[at + 1]) || (y + 1 < height && here[at] !== here[at + width]);
        if (meets) spread(line, width, height, x, y, thick);
      }
    }
    for (let at = 0; at < line.length; at++) {
      if (line[at] === 2) rgba.fill(255, 4 * at, 4 * at + 3);
      if (line[at] === 1) for (let part = 0; part < 3; part++) rgba[4 * at + part] *= facts.dimmed;
    }
  }

  /** Mark a square of the line's thickness with 2, and what lies around it with 1. */
  function spread(line, width, height, x, y, thick) {
    for (let down = -thick; down < 2 * thick; down++) {
      for (let across = -thick; across < 2 * thick; across++) {
        const [column, row] = [x + across, y + down];
        if (column < 0 || row < 0 || column >= width || row >= height) continue;
        const inside = down >= 0 && down < thick && across >= 0 && across < thick;
        line[row * width + column] = Math.max(line[row * width + column], inside ? 2 : 1);
      }
    }
  }

  function drawGrid(canvas, grid) {
    canvas.width = grid.width;
    canvas.height = grid.height;
    const image = new ImageData(grid.width, grid.height);
    grid.values.forEach((value, at) => image.data.set([...facts.scale[value], 255], 4 * at));
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  function scale() {
    return Math.min(window.devicePixelRatio || 1, 2);
  }

  // --- Cards ----------------------------------------------------------------------------------------------------

  function made(tag, className, text) {
    const node = document.createElement(tag);
    node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function numbersOf(item) {
    return item.measures.map((measure) => measure.text).join(" · ");
  }

  /** Describe a picture of an item, by its place on a card: the numbers belong to the mask. */
  function altOf(item, place) {
    return `${item.name}, ${facts.columns[place]}${place ? `: ${numbersOf(item)}` : ""}`;
  }

  function makeCard(item) {
    const card = made("article", item.remarks.length ? "card alarm" : "card");
    card.tabIndex = -1;
    card.dataset.index = item.index;
    const pictures = made("div", "pictures");
    const shrunk = Math.min(1, BOX / Math.max(...item.size));
    facts.pictures.forEach((number, place) => {
      const canvas = made("canvas", "");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", altOf(item, place));
      canvas.style.width = `${Math.max(1, Math.round(item.size[0] * shrunk))}px`;
      canvas.style.aspectRatio = `${item.size[0]} / ${item.size[1]}`;
      forget(canvas);
      pictures.append(canvas);
    });
    card.append(pictures, made("div", "name", item.name));
    if (item.remarks.length) card.append(made("div", "remarks", item.remarks.join("; ")));
    card.append(made("div", "numbers", numbersOf(item)));
    item.card = card;
    return card;
  }

  function forget(canvas) {
    canvas.width = canvas.height = 0;
  }

  function drawPhoto(canvas, photo) {
    canvas.getContext("2d").drawImage(photo, 0, 0, canvas.width, canvas.height);
  }

  async function drawCard(item) {
    const { photo, labels, grid } = await decoded(item, { isLarge: false });
    if (item.seen) {
      const shrunk = Math.min(1, BOX / Math.max(...item.size)) * scale();
      const draw = [drawPhoto, (canvas) => drawOverlay(canvas, photo, labels), (canvas) => drawGrid(canvas, grid)];
      item.card.querySelectorAll("canvas").forEach((canvas, place) => {
        canvas.width = Math.max(1, Math.round(item.size[0] * shrunk));
        canvas.height = Math.max(1, Math.round(item.size[1] * shrunk));
        draw[facts.pictures[place]](canvas, photo);
      });
    }
    photo.close();
  }

  // Cards that came into view wait here, so that scrolling past a thousand of them does not decode a thousand photos.
  const waiting = new Set();
  let drawing = false;

  async function drawWaiting() {
    if (drawing) return;
    drawing = true;
    for (const item of waiting) {
      waiting.delete(item);
      if (item.seen) await drawCard(item).catch((error) => page.failed(error));
    }
    drawing = false;
  }

  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const item = items[target.dataset.index];
        item.seen = isIntersecting;
        if (isIntersecting) waiting.add(item);
        else target.querySelectorAll("canvas").forEach(forget);
      }
      drawWaiting();
    },
    { rootMargin: "400px" },
  );

  function redraw() {
    for (const item of shown) if (item.seen) waiting.add(item);
    drawWaiting();
    drawLarge();
  }

  // --- Which items, and in which order --------------------------------------------------------------------------

  /** Remarks that differ only in their numbers are one kind: "34% cut away". */
  function kindOf(remark) {
    return remark.replace(/\d+([.,]\d+)?/g, "…");
  }

  function option(value, text) {
    return new Option(text, value);
  }

  function fillTools() {
    const kinds = new Map();
    for (const item of items) for (const kind of new Set(item.remarks.map(kindOf))) kinds.set(kind, (kinds.get(kind) || 0) + 1);
    const alarming = items.filter((item) => item.remarks.length).length;
    element("filter").append(
      option("all", `All (${items.length})`),
      option("alarm", `Needs a look (${alarming})`),
      option("fine", `Nothing to remark (${items.length - alarming})`),
      ...[...kinds].map(([kind, count]) => option(`=${kind}`, `${kind} (${count})`)),
    );
    const names = new Set(items.flatMap((item) => item.measures.map((measure) => measure.name)).filter(Boolean));
    element("order").append(option("worst", worstFirst()), option("name", "By name"));
    for (const name of names) {
      element("order").append(option(`-${name}`, `${name}, most first`), option(`+${name}`, `${name}, least first`));
    }
  }

  /** Say what decides where remarks do not. */
  function worstFirst() {
    if (!facts.worst) return "Worst first";
    const remarked = items.some((item) => item.remarks.length);
    return `Worst first: ${remarked ? "by remark, then " : ""}${facts.worst}`;
  }

  function passes(item) {
    const filter = element("filter").value;
    const wanted = element("find").value.trim().toLocaleLowerCase();
    if (wanted && !item.name.toLocaleLowerCase().includes(wanted)) return false;
    if (filter === "all") return true;
    if (filter === "alarm" || filter === "fine") return (item.remarks.length > 0) === (filter === "alarm");
    return item.remarks.some((remark) => `=${kindOf(remark)}` === filter);
  }

  function inOrder(list) {
    const order = element("order").value;
    if (order === "worst") return list;
    if (order === "name") return list.toSorted((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
    const sign = order[0] === "-" ? -1 : 1;
    const valueOf = (item) => item.measures.find((measure) => measure.name === order.slice(1))?.value ?? null;
    return list.toSorted((one, other) => {
      const [mine, theirs] = [valueOf(one), valueOf(other)];
      if (mine === null || theirs === null) return (mine === null) - (theirs === null);
      return sign * (mine - theirs);
    });
  }

  function arrange() {
    shown = inOrder(items.filter(passes));
    const hidden = new Set(items);
    shown.forEach((item) => hidden.delete(item));
    hidden.forEach((item) => (item.card.hidden = true));
    shown.forEach((item) => (item.card.hidden = false));
    element("cards").append(...shown.map((item) => item.card));
    const nothing = element("cards").querySelector(".nothing");
    nothing.hidden = shown.length > 0;
    element("count").textContent = shown.length === items.length ? "" : `${shown.length} of ${items.length}`;
    items.forEach((item) => (item.card.tabIndex = -1));
    if (shown.length) shown[0].card.tabIndex = 0;
  }

  // --- One item large -------------------------------------------------------------------------------------------

  async function open(item) {
    large?.photo.close();
    large = null;
    showFacts(item);
    if (!element("large").open) element("large").showModal();
    element("large").focus();
    const pictures = await decoded(item, { isLarge: true }).catch((error) => page.failed(error));
    if (!pictures) return;
    if (Number(element("large").dataset.index) !== item.index) return pictures.photo.close(); // another one was opened since
    large = pictures;
    drawGrid(element("large-grid"), large.grid);
    page.opened(large);
    drawLarge();
  }

  function showFacts(item) {
    element("large").dataset.index = item.index;
    element("large-name").textContent = item.name;
    element("large-position").textContent = `${shown.indexOf(item) + 1} of ${shown.length}`;
    element("large-remarks").textContent = item.remarks.join("; ");
    element("large-caption").textContent = item.caption ?? "";
    element("large-measures").replaceChildren(...item.measures.map((measure) => made("div", "", measure.text)));
    element("large-picture").setAttribute("aria-label", altOf(item, facts.pictures.length - 2));
    element("large-grid").setAttribute("aria-label", altOf(item, facts.pictures.length - 1));
  }

  function drawLarge() {
    if (!large || !element("large").open) return;
    const canvas = element("large-picture");
    const { photo, labels } = large;
    const stage = element("stage");
    const fitted = Math.min(stage.clientWidth / photo.width, stage.clientHeight / photo.height, MOST_ENLARGED);
    canvas.style.width = `${Math.round(photo.width * fitted)}px`;
    canvas.style.height = `${Math.round(photo.height * fitted)}px`;
    canvas.width = Math.max(1, Math.round(photo.width * fitted * scale()));
    canvas.height = Math.max(1, Math.round(photo.height * fitted * scale()));
    drawOverlay(canvas, photo, labels, page.part);
    page.drawn(canvas);
  }

  /** Show what changed about an item, on its card and large. */
  function refresh(item) {
    const card = item.card;
    const hadFocus = document.activeElement === card;
    observer.unobserve(card);
    card.replaceWith(makeCard(item));
    Object.assign(item.card, { hidden: card.hidden, tabIndex: card.tabIndex });
    observer.observe(item.card);
    if (hadFocus) item.card.focus();
    if (large?.item === item) showFacts(item);
  }

  function step(by) {
    const item = items[element("large").dataset.index];
    const next = shown[shown.indexOf(item) + by];
    if (next) open(next);
  }

  // --- Legend: what is tinted can be switched off ---------------------------------------------------------------

  function makeLegend(container, { withScale }) {
    const switches = facts.legend.map(({ name, colour }, at) => [at + 1, name, colour]);
    if (switches.length) switches.push([0, "dark background", null], ["outline", "outline", null], ["plain", "photo alone", null]);
    for (const [label, name, colour] of switches) {
      const box = made("input", "");
      box.type = "checkbox";
      box.checked = label !== "plain";
      box.dataset.label = label;
      const line = made("label", "");
      line.append(box);
      if (colour) {
        const patch = made("i", "");
        patch.style.background = `rgb(${colour.join()})`;
        line.append(patch);
      }
      line.append(name);
      container.append(line);
    }
    if (withScale) {
      const canvas = made("canvas", "");
      drawGrid(canvas, { width: 256, height: 1, values: Uint8Array.from({ length: 256 }, (_, value) => value) });
      const line = made("span", "");
      line.append("weight 0", canvas, "1");
      container.append(line);
    }
  }

  function isOn(label) {
    return label === "outline" || label === "plain" ? view[label] : !view.hidden.has(Number(label));
  }

  function toggle(label, on = !isOn(label)) {
    if (label === "outline" || label === "plain") view[label] = on;
    else if (on) view.hidden.delete(Number(label));
    else view.hidden.add(Number(label));
    for (const box of document.querySelectorAll(".legend input")) box.checked = isOn(box.dataset.label);
    redraw();
  }

  // --- Keys and clicks ------------------------------------------------------------------------------------------

  function isTyping(event) {
    return event.target.matches("input[type=search], input[type=text], textarea, select") || event.ctrlKey || event.metaKey || event.altKey;
  }

  /** Return the card that an arrow key leads to: along the row, or the nearest one in the next row. */
  function neighbour(card, key) {
    const cards = shown.map((item) => item.card);
    const at = cards.indexOf(card);
    if (key === "Home") return cards[0];
    if (key === "End") return cards.at(-1);
    if (key === "ArrowLeft" || key === "ArrowRight") return cards[at + (key === "ArrowRight" ? 1 : -1)];
    const across = cards.findIndex((other) => other.offsetTop !== cards[0].offsetTop);
    return cards[at + (across < 0 ? cards.length : across) * (key === "ArrowDown" ? 1 : -1)];
  }

  function keyOnCards(event) {
    if (isTyping(event)) return;
    const card = document.activeElement?.closest?.(".card");
    if (event.key === "/") element("find").focus();
    else if (card && (event.key === "Enter" || event.key === " ")) open(items[card.dataset.index]);
    else if (/^(Arrow|Home|End)/.test(event.key) && shown.length) focusCard(card ? neighbour(card, event.key) : shown[0].card);
    else return;
    event.preventDefault();
  }

  function focusCard(card) {
    if (!card) return;
    items.forEach((item) => (item.card.tabIndex = -1));
    card.tabIndex = 0;
    card.focus();
  }

  function keyOnLarge(event) {
    if (isTyping(event) || event.defaultPrevented) return;
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "o") toggle("outline");
    else if (event.key === "b") toggle(0);
    else if (event.key === "p") toggle("plain");
    else return;
    event.preventDefault();
  }

  /** Pictures are drawn when they are seen, and a browser does not wait for those of other pages of paper. */
  function tellOnPaper() {
    const missing = shown.filter((item) => !item.card.querySelector("canvas").width).length;
    const told = `${missing} of ${shown.length} items were not on the screen and have no pictures here: a sheet in .png has them all.`;
    element("on-paper").textContent = missing ? told : "";
  }

  /** What the retouch page replaces or calls. */
  const page = {
    facts,
    pictures: storedPictures,
    blobOf,
    valuesOf,
    part: WHOLE,
    opened: () => {},
    drawn: () => {},
    failed: (error) => reportError(error),
    get large() {
      return large;
    },
    drawGrid,
    drawLarge,
    drawOutline,
    made,
    refresh,
    scale,
    start,
    WHOLE,
  };

  function start() {
    element("cards").append(...items.map(makeCard), made("p", "nothing", "No item is like that"));
    // Without tiers there is nothing that these keys would switch.
    element("legend-keys").hidden = !facts.legend.length;
    makeLegend(element("legend"), { withScale: true });
    makeLegend(element("large-legend"), { withScale: false });
    fillTools();
    arrange();
    items.forEach((item) => observer.observe(item.card));
    element("tools").addEventListener("submit", (event) => {
      event.preventDefault();
      if (shown.length) focusCard(shown[0].card);
    });
    element("tools").addEventListener("input", arrange);
    element("cards").addEventListener("click", (event) => {
      const card = event.target.closest(".card");
      if (card) open(items[card.dataset.index]);
    });
    document.addEventListener("change", (event) => {
      if (event.target.matches(".legend input")) toggle(event.target.dataset.label, event.target.checked);
    });
    document.addEventListener("keydown", (event) => (element("large").open ? keyOnLarge : keyOnCards)(event));
    element("before").addEventListener("click", () => step(-1));
    element("next").addEventListener("click", () => step(1));
    element("close").addEventListener("click", () => element("large").close());
    element("large").addEventListener("close", () => focusCard(items[element("large").dataset.index].card));
    window.addEventListener("resize", drawLarge);
    window.addEventListener("beforeprint", tellOnPaper);
  }

  return page;
})();

document.addEventListener("DOMContentLoaded", sheet.start);
