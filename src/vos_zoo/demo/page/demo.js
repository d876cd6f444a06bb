// The page: what is shown comes from the server's state; what is drawn goes there stroke by stroke.
import { Server } from "./server.js";
import { View } from "./view.js";
import { Pen } from "./pen.js";

const $ = (id) => document.getElementById(id);
const server = new Server();
const view = new View($("picture"), $("timeline"), server);
let state = null;
let frame = 0;
let active = 0;
let playing = null;
let busy = false;

const tool = () => document.querySelector("input[name=tool]:checked").value;
const colour = () => state.objects.find((one) => one.id === active)?.colour ?? "#800000";
const running = () => state?.job?.running ?? false;

function say(text, wrong = false) {
  $("message").textContent = text;
  $("message").classList.toggle("error", wrong);
}

// One request at a time: what the user does meanwhile waits its turn.
let queue = Promise.resolve();
function act(name, body = {}) {
  queue = queue.then(async () => {
    busy = true;
    try {
      return await take(await server.act(name, body));
    } catch (error) {
      say(error.message, true);
      return null;
    } finally {
      busy = false;
      pen.clear();
    }
  });
  return queue;
}

async function take(answer) {
  const opened = state?.video.number !== answer.state.video.number;
  state = answer.state;
  if (opened) frame = 0;
  if (answer.object) active = answer.object;
  if (!state.objects.some((one) => one.id === active)) active = state.objects[0]?.id ?? 0;
  say(answer.message ?? "");
  if (opened) layOut();
  render();
  await view.show(state, frame);
  if (running()) watch();
  return answer;
}

function layOut() {
  const { width, height, frames } = state.video;
  view.resize(width, height);
  pen.resize(width, height);
  $("stage").style.aspectRatio = `${width} / ${height}`;
  $("stage").style.maxWidth = `calc(72vh * ${width / height})`;
  $("frame").max = frames - 1;
  pause();
}

function render() {
  const { video, job } = state;
  const at = running();
  $("about").textContent = `${video.name}, ${video.frames} frames, ${video.width}\u00d7${video.height}`;
  $("number").textContent = `frame ${frame} / ${video.frames - 1}`;
  $("frame").value = frame;
  $("size").textContent = $("radius").value;
  $("weights").value = state.weights;
  $("undo").disabled = at || !state.undo;
  $("redo").disabled = at || !state.redo;
  $("clear").disabled = at || !state.drawn.includes(frame);
  $("stop").disabled = !at || job.stopping;
  for (const id of ["forward", "backward", "add", "weights", "mask"]) $(id).disabled = at;
  for (const button of document.querySelectorAll(".export")) button.disabled = at;
  $("progress").hidden = !at;
  if (at) $("progress").value = job.total ? job.done / job.total : 0;
  view.timeline(state, frame);
  renderObjects();
}

function renderObjects() {
  const list = $("objects");
  if (list.contains(document.activeElement) && document.activeElement.type === "text") return;
  list.replaceChildren(
    ...state.objects.map((one) => {
      const item = document.createElement("li");
      item.classList.toggle("active", one.id === active);
      item.dataset.object = one.id;
      const swatch = document.createElement("i");
      swatch.style.background = one.colour;
      const name = Object.assign(document.createElement("input"), { type: "text", value: one.name, maxLength: 60 });
      name.ariaLabel = `name of object ${one.id}`;
      name.disabled = running();
      name.onchange = () => act("rename_object", { object: one.id, name: name.value });
      name.onkeydown = (event) => event.key === "Enter" && name.blur();
      const remove = Object.assign(document.createElement("button"), { textContent: "\u00d7", title: "remove" });
      remove.disabled = running();
      remove.onclick = () => act("remove_object", { object: one.id });
      item.onpointerdown = () => {
        active = one.id;
        for (const other of list.children) other.classList.toggle("active", other === item);
      };
      item.append(swatch, name, remove);
      return item;
    }),
  );
}

function go(number) {
  frame = Math.max(0, Math.min(state.video.frames - 1, number));
  pen.clear();
  render();
  return view.show(state, frame);
}

// -- background work ---------------------------------------------------------------------------------------------------

let watching = false;
async function watch() {
  if (watching) return;
  watching = true;
  let job = state.job;
  pause();
  while (job.running) {
    await new Promise((done) => setTimeout(done, 200));
    try {
      state = (await server.state()).state;
    } catch (error) {
      say(error.message, true);
      break;
    }
    job = state.job;
    if (job.kind === "track" && job.frame !== null) frame = job.frame;
    const done = job.total ? `${job.done} of ${job.total} frames` : "loading the model";
    say(`${job.kind === "track" ? "tracking" : "exporting"}: ${done}`);
    render();
    await view.show(state, frame);
  }
  watching = false;
  if (job.error) say(job.error, true);
  else if (job.result) {
    say(`exported ${job.result}`);
    server.download(job.result);
  } else if (!job.running) say(job.stopping ? `stopped at frame ${frame}` : `${job.done} frames tracked`);
}

function pause() {
  clearTimeout(playing);
  playing = null;
  $("play").textContent = "Play";
}

function play() {
  if (playing !== null) return pause();
  $("play").textContent = "Pause";
  const step = async () => {
    const started = performance.now();
    await go((frame + 1) % state.video.frames);
    const rest = 1000 / (state.video.fps ?? 24) - (performance.now() - started);
    if (playing !== null) playing = setTimeout(step, Math.max(0, rest));
  };
  playing = setTimeout(step, 0);
}

// -- drawing -----------------------------------------------------------------------------------------------------------

const pen = new Pen($("pen"), {
  tool,
  colour: () => (tool() === "eraser" ? "#ffffff" : colour()),
  radius: () => Number($("radius").value),
  allowed: () => state !== null && !running() && !busy,
  async stroke(points, radius, erase) {
    pause();
    if (!state.objects.length) await act("add_object");
    await act("draw", { frame, object: active, points, radius, erase });
  },
  async box(box) {
    pause();
    if (!state.objects.length) await act("add_object");
    say("looking for the object in the box");
    await act("box", { frame, object: active, box });
  },
});

// -- controls ----------------------------------------------------------------------------------------------------------

async function upload(input, send) {
  const file = input.files[0];
  if (!file) return;
  say(`sending ${file.name}`);
  try {
    await take(await send(file));
  } catch (error) {
    say(error.message, true);
  }
  input.value = "";
}

$("frame").oninput = () => { pause(); go(Number($("frame").value)); };
$("previous").onclick = () => { pause(); go(frame - 1); };
$("next").onclick = () => { pause(); go(frame + 1); };
$("play").onclick = play;
$("forward").onclick = () => act("track", { frame });
$("backward").onclick = () => act("track", { frame, backward: true });
$("stop").onclick = () => act("stop");
$("add").onclick = () => act("add_object");
$("radius").oninput = () => { $("size").textContent = $("radius").value; };
$("undo").onclick = () => act("undo");
$("redo").onclick = () => act("redo");
$("clear").onclick = () => act("clear", { frame });
$("mask").onchange = () => upload($("mask"), (file) => server.send(`masks/${frame}.png`, file));
$("video").onchange = () => upload($("video"), (file) => server.send("video", file));
$("weights").onchange = () => act("weights", { name: $("weights").value });
$("open").onsubmit = (event) => { event.preventDefault(); act("open", { path: $("path").value }); };
$("sample").onclick = () => act("open_sample");
for (const button of document.querySelectorAll(".export")) {
  button.onclick = () => act("export", { kind: button.dataset.kind });
}

const KEYS = {
  b: () => choose("brush"), e: () => choose("eraser"), x: () => choose("box"),
  "[": () => resize(-2), "]": () => resize(2), t: () => $("forward").click(), " ": play,
  ArrowLeft: () => { pause(); go(frame - 1); }, ArrowRight: () => { pause(); go(frame + 1); },
};

function choose(name) {
  document.querySelector(`input[name=tool][value=${name}]`).checked = true;
}

function resize(by) {
  $("radius").value = Number($("radius").value) + by;
  $("radius").oninput();
}

document.onkeydown = (event) => {
  if (["text", "file"].includes(event.target.type) || event.target.tagName === "SELECT" || !state) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
    event.preventDefault();
    $(event.shiftKey ? "redo" : "undo").click();
  } else if (event.ctrlKey || event.metaKey || event.altKey) {
    return;
  } else if (KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key]();
  } else if (/^[1-9]$/.test(event.key) && state.objects.some((one) => one.id === Number(event.key))) {
    active = Number(event.key);
    render();
  }
};

try {
  const answer = await server.start();
  $("weights").replaceChildren(...answer.weights.map((one) => new Option(one.about, one.name)));
  await take(answer);
  document.body.dataset.ready = "yes";
} catch (error) {
  say(error.message, true);
}
