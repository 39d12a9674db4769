"use strict";
// One plain script. Every text from a file, a query or an answer goes in by textContent, so that it stays text.

const $ = (id) => document.getElementById(id);
const state = { file: null, url: null, isPlayable: true, models: [], limits: null, asked: null, stopAt: null, frame: 0 };
// `asked` is the question that is worked on: { isCancelled, upload, job }.
const NUMERALS = ["First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh", "Eighth"];

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") element.className = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);  // strings become text
  return element;
}

const seconds = (value, digits = 1) => `${value.toFixed(digits)} s`;

// ---- The server -------------------------------------------------------------------------------------------------

class Refusal extends Error {
  constructor(problem) {
    super(problem.cause);
    this.problem = problem;
  }
}

function authorization() {
  const token = sessionStorage.getItem("video-opd-token");
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function call(path, options = {}) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(path, { ...options, headers: authorization() });
    } catch {
      throw new Refusal(UNREACHABLE);
    }
    if (answer.status === 401) await askForToken();
    else if (answer.ok) return answer;
    else throw new Refusal(explain(answer.status, await answer.json().catch(() => null)));
  }
}

async function read(path, options) {
  const answer = await call(path, options);
  try {
    return await answer.json();
  } catch {
    throw new Refusal(explain(answer.status, null));
  }
}

// The words of an error; those of another program, such as a proxy between here and the server, are not ours.
function explain(status, said) {
  if (said && [said.cause, said.reason, said.remedy].every((text) => typeof text === "string")) return said;
  return {
    cause: `the answer with status ${status} is not from this server`,
    reason: "a proxy in front of the server may have sent it",
    remedy: "Try again later, or tell whoever runs the server",
  };
}

const UNREACHABLE = {
  cause: "the server does not answer",
  reason: "it has ended, or the connection is lost",
  remedy: "Start it again with `video-opd serve`, then ask again",
};

const NO_TOKEN = {
  cause: "no token was given",
  reason: "this server answers only those who have its token",
  remedy: "Load the page again, or ask again, and type the token",
};

function askForToken() {
  const dialog = $("token");
  $("token-problem").textContent = sessionStorage.getItem("video-opd-token") ? "The server does not know this token." : "";
  $("token-value").value = "";
  if (!dialog.open) {
    dialog.returnValue = "";
    dialog.showModal();
  }
  return new Promise((resolve, reject) => {
    // Escape closes it too.
    dialog.addEventListener("close", () => (dialog.returnValue === "given" ? resolve() : reject(new Refusal(NO_TOKEN))), { once: true });
  });
}

function takeToken(event) {
  event.preventDefault();
  const token = $("token-value").value.trim();
  if (!/^[\x21-\x7e]+$/.test(token)) {  // a header cannot hold it
    $("token-problem").textContent = "A token has only ASCII letters, digits and marks, without blanks.";
    return;
  }
  sessionStorage.setItem("video-opd-token", token);
  $("token").close("given");
}

function send(form, asked) {
  // XMLHttpRequest, because fetch does not tell how much of an upload has been sent.
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    asked.upload = request;
    request.open("POST", "/jobs");
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) tell(`sending the video: ${Math.round((100 * event.loaded) / event.total)} %`, event.loaded / event.total / 4);
    };
    request.upload.onload = () => (asked.upload = null);  // from here on there may be a job, which is what Cancel ends
    request.onload = () => {
      if (request.status === 202 && request.response) resolve(request.response);
      else reject(new Refusal(explain(request.status, request.response)));
    };
    request.onerror = () => reject(new Refusal(UNREACHABLE));
    request.onabort = () => resolve(null);
    request.send(form);
  });
}

// ---- Choosing a video -------------------------------------------------------------------------------------------

function once(target, name, milliseconds) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(name)), milliseconds);
    target.addEventListener(name, () => (clearTimeout(timer), resolve()), { once: true });
    target.addEventListener("error", () => (clearTimeout(timer), reject(new Error("error"))), { once: true });
  });
}

async function choose(file) {
  // What is said and answered about one video is never shown beside another.
  if (state.asked) cancel();
  else tell("");
  state.file = file;
  if (state.url) URL.revokeObjectURL(state.url);
  state.url = URL.createObjectURL(file);
  const player = $("player");
  player.hidden = false;
  $("result").hidden = true;
  $("unplayable").hidden = true;
  complain(null);
  state.chosen = (async () => {
    try {
      player.src = state.url;
      await once(player, "loadeddata", 8000);
      state.isPlayable = player.videoWidth > 0;
    } catch {
      state.isPlayable = false;
    }
    if (file !== state.file) return;
    if (state.isPlayable) {
      player.style.setProperty("--ratio", player.videoWidth / player.videoHeight);
      player.classList.toggle("coarse", player.videoWidth <= 128);
    } else {
      player.hidden = true;
      $("unplayable").textContent = "This browser cannot play the file. You can ask about it all the same: the server makes its pictures.";
      $("unplayable").hidden = false;
    }
  })();
  await state.chosen;
}

function putIntoInput(file) {
  const transfer = new DataTransfer();
  transfer.items.add(file);
  $("file").files = transfer.files;
}

function offerSamples(queries) {
  const list = $("samples").querySelector("ul");
  list.replaceChildren(...queries.map((query) => {
    const button = make("button", { type: "button" }, query);
    button.addEventListener("click", () => {
      const lines = readQueries();
      if (!lines.includes(query)) $("queries").value = [...lines, query].join("\n");
    });
    return make("li", {}, button);
  }));
  $("samples").hidden = !queries.length;
}

async function offerClips(clips) {
  const list = $("clips").querySelector("ul");
  $("clips").hidden = !clips.length;
  for (const [number, clip] of clips.entries()) {
    const canvas = make("canvas", { width: 64, height: 64, "aria-hidden": "true" });
    canvas.classList.add("coarse");
    const button = make("button", { type: "button", "aria-pressed": "false" }, canvas, `Clip ${number + 1}, ${seconds(clip.duration, 0)}`);
    list.append(make("li", {}, button));
    const file = new File([await (await call(`/clips/${encodeURIComponent(clip.id)}.mp4`)).blob()], `${clip.id}.mp4`, { type: "video/mp4" });
    button.addEventListener("click", () => {
      putIntoInput(file);
      choose(file);
      markClip(button);
      offerSamples(clip.queries);
      $("queries").value = clip.queries.slice(0, 2).join("\n");
    });
    const url = URL.createObjectURL(file);
    drawPictures(url, [canvas], [clip.shown_at / clip.duration]).finally(() => URL.revokeObjectURL(url));
  }
}

function markClip(chosen) {
  for (const button of $("clips").querySelectorAll("button")) button.setAttribute("aria-pressed", String(button === chosen));
}

async function drawPictures(url, canvases, places) {
  const video = make("video", { muted: "", preload: "auto" });
  video.src = url;
  await once(video, "loadeddata", 8000);
  for (const [number, canvas] of canvases.entries()) {
    const there = once(video, "seeked", 4000);
    video.currentTime = places[number] * video.duration;
    await there;
    canvas.width = Math.min(320, video.videoWidth);
    canvas.height = Math.max(1, Math.round((canvas.width * video.videoHeight) / video.videoWidth));
    canvas.classList.toggle("coarse", video.videoWidth <= 128);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  }
  video.removeAttribute("src");
}

// ---- Asking -----------------------------------------------------------------------------------------------------

const readQueries = () => $("queries").value.split("\n").map((line) => line.trim()).filter(Boolean);

function tell(sentence, share) {
  $("status").textContent = sentence;
  $("progress").hidden = share === undefined;
  if (share !== undefined) $("progress").value = share;
}

function complain(problem) {
  $("problem").replaceChildren();
  if (!problem) return;
  const begin = problem.cause.charAt(0).toUpperCase() + problem.cause.slice(1);
  $("problem").append(make("p", {}, `${begin}: ${problem.reason}. ${problem.remedy}.`));
  $("problem").scrollIntoView({ block: "nearest" });
}

function refuse(cause, reason, remedy) {
  throw new Refusal({ cause, reason, remedy });
}

function makeForm(queries) {
  const form = new FormData();
  const limits = state.limits;
  if (!state.file) refuse("no video is chosen", "there is nothing to look at", "Choose a file or a clip");
  if (!queries.length) refuse("no query is typed", "the model needs words to search for", "Write what to look for");
  if (queries.length > limits.max_queries) refuse(`${queries.length} queries`, `this server takes at most ${limits.max_queries}`, "Leave some out");
  if (state.file.size > limits.max_upload_mb * 1e6) {
    refuse(`the file has ${Math.ceil(state.file.size / 1e6)} MB`, `this server takes at most ${limits.max_upload_mb} MB`, "Choose a smaller one");
  }
  for (const query of queries) form.append("query", query);
  if (!state.isPlayable) form.append("frames", "true");
  form.append("video", state.file, state.file.name);
  return form;
}

function shareOf(job) {
  const steps = { waiting: 0.25, decoding: 0.3, reading: 0.4, answering: 0.5 };
  return Math.max(steps[job.state] || 1, 0.5 + (0.5 * job.num_answered) / job.num_answers * (job.num_answered > 0));
}

async function ask() {
  const asked = { isCancelled: false, upload: null, job: null };
  state.asked = asked;
  complain(null);
  $("ask").disabled = true;
  $("cancel").disabled = false;
  $("result").hidden = true;
  try {
    await state.chosen;
    state.limits = await read("/limits");  // asks for the token before a long upload
    const job = await carryOut(asked);
    state.asked = null;
    if (!job || job.state === "cancelled") tell("cancelled");
    else if (job.state === "failed") (tell(""), complain(job.error));
    else (tell(job.sentence), await showResult(job));
  } catch (error) {
    tell(asked.isCancelled ? "cancelled" : "");
    if (!(error instanceof Refusal)) throw error;
    if (!asked.isCancelled) complain(error.problem);
  } finally {
    state.asked = null;
    $("ask").disabled = false;
    $("cancel").disabled = true;
  }
}

// The job once it has ended; null where it was cancelled.
async function carryOut(asked) {
  if (asked.isCancelled) return null;
  const form = makeForm(readQueries());
  tell("sending the video", 0);
  let job = await send(form, asked);
  if (!job) return null;
  asked.job = job.id;
  if (asked.isCancelled) job = await read(`/jobs/${job.id}`, { method: "DELETE" });
  for (let pause = 150; !["done", "failed", "cancelled"].includes(job.state); pause = Math.min(1000, pause * 1.2)) {
    tell(asked.isCancelled ? "cancelling" : job.sentence, shareOf(job));
    await new Promise((resolve) => setTimeout(resolve, pause));
    job = await read(`/jobs/${job.id}`);
  }
  return asked.isCancelled ? null : job;
}

function cancel() {
  const asked = state.asked;
  if (!asked || asked.isCancelled) return;
  asked.isCancelled = true;
  tell("cancelling");
  if (asked.upload) asked.upload.abort();
  else if (asked.job) call(`/jobs/${asked.job}`, { method: "DELETE" }).catch(() => {});
}

// ---- Showing ----------------------------------------------------------------------------------------------------

async function showResult(job) {
  const { result } = job;
  state.shown = job.id;
  $("result").hidden = false;
  $("result-title").replaceChildren(make("bdi", {}, result.video), `, ${seconds(result.duration)}`);
  $("notices").replaceChildren(...result.notices.map((text) => make("li", {}, text)));
  $("axis").replaceChildren(...markTimes(result.duration));
  $("rows").replaceChildren(...result.models[0].answers.map((_, place) => makeQuery(result, place)));
  $("times").replaceChildren(...result.models.map(describeTimes));
  $("hint").hidden = !state.isPlayable;
  $("result-title").focus({ preventScroll: true });
  $("result").scrollIntoView({ block: "nearest" });
  await drawStrip(job);
}

function markTimes(duration) {
  const step = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].find((size) => duration / size <= (innerWidth < 700 ? 4 : 8)) || 7200;
  const times = [];
  for (let time = 0; time < duration - step / 2; time += step) times.push(time);
  return [...times, duration].map((time) => {
    const mark = make("span", {}, `${+time.toFixed(1)} s`);
    mark.style.left = `${(100 * time) / duration}%`;
    return mark;
  });
}

function makeQuery(result, place) {
  const rows = result.models.map((model, number) => makeRow(result, model, number, place));
  return make("section", { class: "query" }, make("h3", {}, make("bdi", {}, result.models[0].answers[place].query)), ...rows.flat());
}

function makeRow(result, model, number, place) {
  const answer = model.answers[place];
  const track = make("div", { class: "track", "data-model": model.model, "data-query": place });
  track.append(...answer.spans.map((span) => makeSpan(result, model.model, number, span)), make("div", { class: "playhead" }));
  const isLate = answer.spans.some(([, end]) => end > result.duration + 0.01);
  const spans = answer.spans.map(([start, end]) => `${+start.toFixed(2)} – ${+end.toFixed(2)} s`).join(", ") + (isLate ? ", beyond the end of the video" : "");
  const what = answer.spans.length ? make("span", { class: "what" }, spans) : make("span", { class: "what bad" }, `no span: ${answer.reason}`);
  const who = make("span", { class: "who" }, make("i", { class: `m${number}` }), make("bdi", {}, model.model));
  const raw = make("p", { class: "raw" }, "It wrote: ", make("q", {}, make("bdi", {}, answer.answer || "(nothing)")));
  return [make("div", { class: "row" }, who, track, what, raw)];
}

function makeSpan(result, model, number, [start, end]) {
  const label = `${model}: ${+start.toFixed(2)} to ${+end.toFixed(2)} s`;
  const button = make("button", {
    type: "button", class: `span m${number}`, "data-start": start, "data-end": end, "aria-pressed": "false",
    "aria-label": state.isPlayable ? `Play ${label}` : label, title: label,
  });
  // An answer may name a time after the end; its span then lies at the end.
  const left = Math.min(start, result.duration), right = Math.min(Math.max(start, end), result.duration);
  button.style.left = `min(${(100 * left) / result.duration}%, 100% - 4px)`;
  button.style.width = `${(100 * (right - left)) / result.duration}%`;
  button.addEventListener("click", () => play(button, start, end));
  return button;
}

function describeTimes(model) {
  const [first, ...others] = model.answers;
  const before = model.seconds_to_decode + model.seconds_to_read;
  const parts = [
    `First answer after ${seconds(before + first.seconds, 2)}: decoding ${seconds(model.seconds_to_decode, 2)}, reading the video ` +
      `${seconds(model.seconds_to_read, 2)}, writing ${seconds(first.seconds, 2)}.`,
    ...others.slice(0, 7).map((answer, place) => `${NUMERALS[place + 1]} answer: ${seconds(answer.seconds, 2)} more.`),
  ];
  if (others.length > 7) parts.push(`All ${others.length + 1}: ${seconds(model.answers.reduce((sum, answer) => sum + answer.seconds, before), 2)}.`);
  return make("li", {}, make("bdi", {}, model.model), `. ${parts.join(" ")}`);
}

async function drawStrip(job) {
  const strip = $("strip"), player = $("player");
  if (state.isPlayable) {
    const wanted = strip.clientWidth / (strip.clientHeight * Math.max(0.5, player.videoWidth / player.videoHeight));
    const count = Math.min(16, Math.max(4, Math.round(wanted)));
    const canvases = Array.from({ length: count }, () => make("canvas", { "aria-hidden": "true" }));
    strip.replaceChildren(...canvases);
    strip.append(make("div", { class: "playhead" }));
    await drawPictures(state.url, canvases, canvases.map((_, number) => (number + 0.5) / count)).catch(() => {});
  } else {
    const pictures = await Promise.all(Array.from({ length: job.num_frames }, async (_, number) => {
      const url = URL.createObjectURL(await (await call(`/jobs/${job.id}/frames/${number}`)).blob());
      const image = make("img", { alt: "", src: url });
      image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
      return image;
    }));
    if (state.shown === job.id) strip.replaceChildren(...pictures);
  }
  strip.setAttribute("aria-label", `${strip.querySelectorAll("canvas, img").length} pictures of the video, from its beginning to its end`);
}

function play(button, start, end) {
  for (const span of document.querySelectorAll(".span")) span.setAttribute("aria-pressed", String(span === button));
  if (!state.isPlayable) return tell(`${button.title}; this browser cannot play the file`);
  const player = $("player");
  state.stopAt = end;
  player.currentTime = start;
  player.scrollIntoView({ block: "nearest" });
  player.play().catch(() => {});
}

function follow() {
  const player = $("player");
  if (state.stopAt !== null && player.currentTime >= state.stopAt) {
    player.pause();
    player.currentTime = state.stopAt;
    state.stopAt = null;
  }
  for (const head of document.querySelectorAll(".playhead")) head.style.left = `${(100 * player.currentTime) / player.duration || 0}%`;
  cancelAnimationFrame(state.frame);  // several events come here, and there is one loop
  if (!player.paused) state.frame = requestAnimationFrame(follow);
}

async function takeExport(format) {
  try {
    const answer = await call(`/jobs/${state.shown}/export?format=${format}`);
    const name = /filename="([\w.]+)"/.exec(answer.headers.get("Content-Disposition"));
    const url = URL.createObjectURL(await answer.blob());
    const link = make("a", { href: url, download: name ? name[1] : "spans" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    complain(error.problem);
  }
}

// ---- The beginning ----------------------------------------------------------------------------------------------

function listen() {
  $("form").addEventListener("submit", (event) => (event.preventDefault(), ask()));
  $("cancel").addEventListener("click", cancel);
  $("token-form").addEventListener("submit", takeToken);
  $("file").addEventListener("change", () => {
    markClip(null);
    offerSamples([]);
    if ($("file").files.length) choose($("file").files[0]);
  });
  $("queries").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("ask").disabled) ask();
  });
  for (const button of $("exports").children) button.addEventListener("click", () => takeExport(button.dataset.format));
  for (const name of ["play", "pause", "seeked", "timeupdate"]) $("player").addEventListener(name, follow);
  $("player").addEventListener("seeking", () => {
    if (state.stopAt !== null && $("player").currentTime > state.stopAt + 0.5) state.stopAt = null;  // the user seeks elsewhere
  });
  addEventListener("dragover", (event) => (event.preventDefault(), document.body.classList.add("dragging")));
  addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    const [file] = event.dataTransfer.files;
    if (!file) return;
    putIntoInput(file);
    markClip(null);
    offerSamples([]);
    choose(file);
  });
  addEventListener("pagehide", () => {
    if (state.asked?.job) fetch(`/jobs/${state.asked.job}`, { method: "DELETE", headers: authorization(), keepalive: true });
  });
}

async function begin() {
  listen();
  try {
    state.models = await read("/models");
    state.limits = await read("/limits");
    const names = state.models.flatMap((model, number) => [
      number ? " and " : "", make("i", { class: `m${number}` }), make("bdi", {}, model.name),
    ]);
    $("models").replaceChildren(...names, state.models.length > 1 ? " answer, side by side." : " answers.");
    $("tiny").hidden = !state.models.some((model) => model.knows_shapes_only);
    const { max_upload_mb: size, max_video_s: length, max_queries: queries, max_seconds: time, max_queue: queue } = state.limits;
    $("limits").textContent =
      `This server takes files of up to ${size} MB and ${+(length / 60).toFixed(1)} minutes, and up to ${queries} queries. ` +
      `It works on one request at a time, for at most ${+(time / 60).toFixed(1)} minutes; ${queue} more may wait.`;
    $("kept").textContent = state.limits.keeps_videos
      ? "This server keeps every video with its answers."
      : "The video is removed from the server when the answers are there.";
    await offerClips(await read("/clips"));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    complain(error.problem);
  }
}

begin();
