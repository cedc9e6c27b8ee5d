"use strict";
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const TIMES = "\u00d7";

  // ---- making elements: text goes in as text, so no label can be markup ----
  function fill(element, attributes, children) {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value !== null && value !== undefined) element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }
  const make = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const draw = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  // ---- numbers as text ----
  const whole = (n) => n.toLocaleString("en-US");
  const brief = (n) => (n === null ? "none" : Number(n.toPrecision(4)).toString().replace("-", "\u2212"));
  const percent = (share, digits = 1) => {
    if (share === null) return "undefined";
    return share > 0 && share < 0.0005 ? "<0.1%" : (share * 100).toFixed(digits) + "%";
  };
  const time = (seconds) => (seconds * 1e3).toFixed(3) + " ms";
  const size = (shape) => shape.slice(1).join(TIMES);  // channels x rows x columns, without the one image
  const words = (op) => op.replaceAll("_", " ");

  function terms(list, attributes) {
    return make("dl", attributes, ...list.map(([name, ...value]) => make("div", {}, make("dt", {}, name), make("dd", {}, ...value))));
  }
  function bar(share, other) {
    const inner = make("i", {});
    inner.style.width = Math.min(100, Math.max(share > 0 ? 0.6 : 0, share * 100)) + "%";
    return make("span", { class: other ? "bar other" : "bar", "aria-hidden": "true" }, inner);
  }

  // ---- the head: input, classes, totals ----
  function header() {
    at("name").append(...report.name.split("_").flatMap((part, i) => (i ? ["_", make("wbr", {}), part] : [part])));
    at("source").textContent = `${report.source}, ${size(report.input_shape)}`;
    const picture = at("picture");
    picture.src = report.picture;
    picture.alt = `The input as the network got it: ${report.source}`;
    picture.classList.toggle("small", report.input_shape[3] < 96);
    for (const each of report.top) {
      at("top").append(make("li", {},
        make("span", { class: "label", title: each.label }, each.label),
        make("span", { class: "percent" }, percent(each.probability)),
        bar(each.probability)));
    }
    const nodes = report.blocks.reduce((sum, block) => sum + block.nodes.length, 0);
    at("totals").append(...terms([
      ["Multiply-adds", whole(report.madds)],
      ["Parameters", whole(report.params)],
      ["Time, node by node", time(report.seconds)],
      ["Time, nodes merged", time(report.plan_seconds)],
      ["Blocks", String(report.blocks.length)],
      ["Nodes", String(nodes)],
    ]).childNodes);
    at("about").append(...terms(Object.entries(report.about)).childNodes);
  }

  // ---- the diagram: a row per size of the maps; each block a stack of sheets, one more for twice the channels ----
  const short = (name) => name.replace(/^features\./, "");
  const hasPixels = (shape) => shape.length === 4 && shape[2] * shape[3] > 1;

  function glyph(block) {
    const pixels = hasPixels(block.output);
    const sheets = Math.max(1, Math.min(6, Math.round(Math.log2(block.output[1]) - 3)));
    const rows = pixels ? Math.max(block.output[2], block.output[3]) : 1;
    const side = pixels ? Math.max(20, Math.min(42, 7 + 5.2 * Math.log2(rows))) : 12;
    const x = 7, y = 61 - side;
    const shapes = [];
    for (let i = sheets - 1; i >= 1; i--) {
      shapes.push(draw("rect", { class: "sheet", x: x + i * 2.5, y: y - i * 2.5, width: side, height: side, rx: 1.5 }));
    }
    if (block.thumbnail) {
      shapes.push(draw("image", { href: block.thumbnail, x, y, width: side, height: side, preserveAspectRatio: "none", style: "image-rendering:pixelated" }));
    }
    shapes.push(draw("rect", { class: "sheet", x, y, width: side, height: side, rx: 1.5, style: block.thumbnail ? "fill:none" : "" }));
    const edge = x + side + (sheets - 1) * 2.5;
    if (/skip/.test(block.kind)) {  // around the stack and back in, as the papers draw it
      const roof = y - sheets * 2.5 - 3, low = y + side * 0.6;
      shapes.push(draw("path", { class: "wire", d: `M${x} ${low}h-3q-2 0 -2 -2V${roof + 3}q0 -3 3 -3H${edge + 2}q3 0 3 3V${low - 2}q0 2 -2 2H${x + side + 1}` }));
    }
    if (/squeeze/.test(block.kind)) shapes.push(draw("circle", { class: "gate", cx: x + side - 1, cy: y + side - 1, r: 4 }));
    return draw("svg", { viewBox: "0 0 64 66", "aria-hidden": "true" }, ...shapes);
  }

  function legend() {
    const icon = (...shapes) => draw("svg", { viewBox: "0 0 14 14" }, ...shapes);
    const kinds = report.blocks.map((block) => block.kind).join();
    if (/skip/.test(kinds)) {
      at("legend").append(make("span", {}, icon(draw("path", { class: "wire", d: "M4 11H3q-2 0 -2 -2V4q0 -3 3 -3H10q3 0 3 3V9q0 2 -2 2H10" })), "skip connection"));
    }
    if (/squeeze/.test(kinds)) {
      at("legend").append(make("span", {}, icon(draw("circle", { class: "gate", cx: 7, cy: 7, r: 4 })), "squeeze-and-excite"));
    }
  }

  const buttons = [];
  function diagram() {
    legend();
    let row = null, last = "";
    report.blocks.forEach((block, i) => {
      const label = hasPixels(block.output) ? `${block.output[2]} ${TIMES} ${block.output[3]}` : "vector";
      if (label !== last) {
        row = make("ol", {});
        at("diagram").append(make("div", { class: "stage" }, make("h3", {}, label), row));
        last = label;
      }
      const button = make("button", {
        class: "block", type: "button", "aria-pressed": "false", "aria-controls": "detail", "data-block": block.name,
        "aria-label": `${block.name}: ${block.kind}, ${block.output[1]} channels, ${percent(block.share)} of the multiply-adds`,
        title: `${block.name}: ${block.kind}`,
      }, glyph(block), make("span", { class: "short" }, short(block.name)),
      make("span", { class: "shape" }, `${whole(block.output[1])} ch`), bar(block.share * scale));
      button.addEventListener("click", () => { choose(i); reveal(); });
      button.addEventListener("keydown", (event) => move(event, i));
      buttons.push(button);
      row.append(make("li", {}, button));
    });
  }
  const scale = 1 / Math.max(...report.blocks.map((block) => block.share), 1e-9);  // the longest bar is full

  function move(event, i) {
    const end = buttons.length - 1;
    const target = { ArrowRight: i + 1, ArrowDown: i + 1, ArrowLeft: i - 1, ArrowUp: i - 1, Home: 0, End: end }[event.key];
    if (target === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const next = Math.min(end, Math.max(0, target));
    buttons[next].focus();
    choose(next);
  }

  // ---- one block ----
  function choose(i, quietly) {
    const block = report.blocks[i];
    buttons.forEach((button, j) => button.setAttribute("aria-pressed", String(i === j)));
    at("detail-title").textContent = block.name;
    at("detail-body").replaceChildren(
      make("p", { class: "lead" }, make("span", {}, block.kind), make("span", {}, `${size(block.input)} \u2192 ${size(block.output)}`)),
      terms([
        ["Multiply-adds", make("span", { id: "block-madds" }, whole(block.madds)), " ", make("small", {}, percent(block.share))],
        ["Parameters", make("span", { id: "block-params" }, whole(block.params))],
        ["Time", time(block.seconds), " ", make("small", {}, percent(block.seconds / report.seconds))],
        ["Nodes", String(block.nodes.length)],
      ], { class: "figures" }),
      ...(block.comparison ? [versus(block.comparison)] : []),
      make("div", { class: "nodes" }, ...block.nodes.map((node) => article(node, block))));
    if (quietly) return;
    at("status").textContent = `${block.name}: ${block.nodes.length} nodes, ${whole(block.madds)} multiply-adds, ${percent(block.share)} of the network`;
  }

  function reveal() {  // on a narrow screen the block's page lies below the diagram, on a wide one it may be scrolled by
    const top = at("detail").getBoundingClientRect().top;
    if (top > window.innerHeight * 0.8 || top < 0) at("detail").scrollIntoView({ block: "start" });
  }

  function versus(c) {
    const taken = c.runs === "separable";
    const more = 1 / c.ratio;
    const line = (form, text) => make("div", {},
      make("dt", { class: c.runs === form ? "runs" : "" }, text),
      make("dd", {}, make("b", {}, whole(c[form])), bar(c[form] / Math.max(c.full, c.separable), c.runs !== form)));
    return make("section", { class: "versus", "aria-labelledby": "versus-title" },
      make("h3", { id: "versus-title" }, taken
        ? `One full ${c.window} convolution would take ${more.toFixed(1)} times as many multiply-adds`
        : `As depthwise and pointwise it would take ${percent(c.ratio)} of the multiply-adds`),
      make("dl", {}, line("separable", `${c.window} depthwise and 1${TIMES}1`), line("full", `full ${c.window}`)),
      make("p", { class: "formula" }, `${c.formula}, from ${c.in_channels} to ${c.out_channels} channels`));
  }

  // ---- one node ----
  function manner(node) {  // attributes that the shapes and the formula do not tell
    const told = node.attributes.split(", ").filter((each) => each && !/channels=|features=|kernel=|eps=|bias=|^p=/.test(each));
    return told.map((each) => ", " + each.replace("=", " ").replace(/(\d)x(\d)/, "$1" + TIMES + "$2")).join("");
  }

  function article(node, block) {
    const title = node.name === block.name ? node.name : node.name.replace(block.name + ".", "");
    const s = node.statistics;
    const facts = [["Range", `${brief(s.min)} to ${brief(s.max)}`], ["Mean, deviation", `${brief(s.mean)}, ${brief(s.std)}`],
      ["Zeros", percent(s.zeros)]];
    if (/relu6|hard_s/.test(node.op)) facts.push(["Exactly 6", percent(s.sixes)]);
    if (s.dead) facts.push(["Dead channels", percent(s.dead)]);
    if (s.nan || s.inf) facts.push(["Not finite", whole(s.nan + s.inf)]);
    const cost = [["Time", time(node.seconds)]];
    if (node.params) cost.unshift(["Parameters", whole(node.params)]);
    if (node.madds) cost.unshift(["Share", percent(node.share, 2) + " of the network"]);
    const inputs = node.inputs.map((each) => size(each.shape)).join(" and ");
    return make("article", { class: "node", "data-node": node.name },
      make("div", {},
        make("h3", { title: node.name }, title, " ", make("span", { class: "op" }, words(node.op) + manner(node))),
        make("p", { class: "flow" }, `${inputs} \u2192 ${size(node.output)}`, node.op === "add" ? ` (${node.inputs.map((each) => each.name).join(" + ")})` : ""),
        make("p", { class: "formula" }, make("span", {}, node.formula.text), node.formula.numbers || null),
        terms([...cost, ...facts], { class: "table" })),
      make("div", {}, node.maps ? maps(node) : values(node), spread(node)));
  }

  function maps(node) {
    const m = node.maps;
    return make("figure", {},
      make("img", { class: "maps", src: m.picture, width: m.width, height: m.height,
        alt: `${m.channels.length} of ${m.total} channels of ${node.name} as pictures` }),
      make("figcaption", {}, `Channels ${m.channels.join(", ")} of ${whole(m.total)}; colour saturates at \u00b1${brief(m.limit)}`));
  }

  const WIDE = 600, HIGH = 56;
  function values(node) {
    const finite = node.values.map((value) => value ?? 0);
    const high = node.gate ? 1 : Math.max(0, ...finite), low = node.gate ? 0 : Math.min(0, ...finite);
    const span = high - low || 1, step = WIDE / finite.length, zero = (high / span) * HIGH;
    const gap = step > 3 ? 0.8 : 0;
    const bars = (wanted) => finite.map((value, i) => wanted(value) &&
      `M${(i * step).toFixed(2)} ${zero.toFixed(2)}h${(step - gap).toFixed(2)}V${(((high - value) / span) * HIGH).toFixed(2)}h${(gap - step).toFixed(2)}z`).filter(Boolean).join("");
    const what = node.gate ? "Squeeze-and-excite gates" : "Values";
    return make("figure", { class: node.gate ? "gates" : "" },
      draw("svg", { class: "plot", viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img",
        "aria-label": `${what} of ${finite.length} channels, from ${brief(Math.min(...finite))} to ${brief(Math.max(...finite))}` },
      draw("line", { x1: 0, x2: WIDE, y1: zero, y2: zero }),
      draw("path", { d: bars((value) => value >= 0) }), draw("path", { class: "minus", d: bars((value) => value < 0) })),
      make("figcaption", {}, `${what}, one bar per channel, from ${brief(low)} to ${brief(high)}`));
  }

  function spread(node) {
    const h = node.histogram;
    if (!h.counts.length) return make("p", { class: "muted" }, "No finite value.");
    const most = Math.max(...h.counts), step = WIDE / h.counts.length;
    const bars = h.counts.map((count, i) => {
      const tall = Math.sqrt(count / most) * HIGH;  // roots, or the zeros of a ReLU would flatten all else
      const middle = h.low + (i + 0.5) * (h.high - h.low) / h.counts.length;
      return draw("rect", { class: middle < 0 ? "minus" : null, x: i * step, y: HIGH - tall, width: Math.max(1, step - 1.5), height: tall });
    });
    return make("figure", {},
      draw("svg", { class: "plot", viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img",
        "aria-label": `Histogram of ${node.name} from ${brief(h.low)} to ${brief(h.high)}` }, ...bars),
      make("div", { class: "ends", "aria-hidden": "true" }, make("span", {}, brief(h.low)), make("span", {}, "histogram, square-root scale"), make("span", {}, brief(h.high))));
  }

  header();
  diagram();
  choose(0, true);
})();
