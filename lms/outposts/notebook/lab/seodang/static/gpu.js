// What a notebook's kernel got of the GPUs, beside its name: a chip in the toolbar, a panel behind it,
// and a notification when a GPU has come, is about to go, or has gone.

const WORDS = {
  ko: {
    locale: "ko",
    gpu: "GPU",
    simulated: "모의",
    until: (clock) => `${clock}까지`,
    atMost: (clock) => `늦어도 ${clock}에 끝나요.`,
    idle: (minutes) => `${minutes}분 동안 아무것도 계산하지 않으면 저절로 반납돼요.`,
    fake: "연습용으로 흉내 낸 장치예요. 계산은 CPU에서 돼요.",
    waiting: "GPU 대기",
    place: (place) => `${place}번째`,
    about: (minutes) => `약 ${minutes}분`,
    preparing: "GPU 준비 중",
    queueTitle: (place) => (place ? "GPU를 기다리고 있어요" : "GPU를 준비하고 있어요"),
    meanwhile: "그동안 CPU에서 계속 일할 수 있어요. 차례가 오면 알려 드려요.",
    ready: "GPU가 왔어요",
    readyText: "2분 안에 커널을 다시 시작하면 쓸 수 있어요. 그 뒤에는 다음 사람에게 가요.",
    restart: "GPU에서 다시 시작하고 모두 실행",
    keepCpu: "GPU 없이 계속하기",
    cpu: "CPU",
    cpuTitle: "이 커널은 CPU에서 실행돼요",
    ask: "GPU 신청하기",
    leave: "줄에서 나가기",
    giveBack: "GPU 반납하기",
    giveBackTitle: "GPU를 반납할까요?",
    giveBackText: "커널이 CPU에서 다시 시작되고, 메모리에 있던 변수는 사라져요. 노트북은 그대로예요.",
    cancel: "취소",
    booking: (from, to) => `LMS의 ‘내 컴퓨팅’에서 ${from}부터 ${to}까지를 예약할 수 있어요.`,
    instead: "기다리는 대신",
    smaller: "GPU의 작은 조각 하나가 지금 비어 있어요.",
    switchTo: (name) => `${name}(으)로 바꾸기`,
    away: "LMS가 대답하지 않아 지금은 GPU를 신청할 수 없어요.",
    broker: "GPU를 열지 못해 CPU에서 시작했어요.",
    unsure: "지금은 상태를 알 수 없어요. 곧 다시 확인해요.",
    failed: "하지 못했어요. 잠시 뒤에 다시 해 보세요.",
    close: "닫기",
    inNotebook: (name, text) => `${name}: ${text}`,
  },
  en: {
    locale: "en-GB",
    gpu: "GPU",
    simulated: "simulated",
    until: (clock) => `until ${clock}`,
    atMost: (clock) => `It ends at ${clock} at the latest.`,
    idle: (minutes) => `It goes back by itself when nothing is computed for ${minutes} minutes.`,
    fake: "The device is simulated, for practice: computing is done by the CPU.",
    waiting: "GPU queue",
    place: (place) => `place ${place}`,
    about: (minutes) => `about ${minutes} min`,
    preparing: "GPU on its way",
    queueTitle: (place) => (place ? "Waiting for a GPU" : "The GPU is being prepared"),
    meanwhile: "Go on working on the CPU meanwhile. You will be told when it is your turn.",
    ready: "Your GPU is here",
    readyText: "Restart the kernel within two minutes to use it; then it goes to the next person.",
    restart: "Restart on the GPU and run all",
    keepCpu: "Go on without it",
    cpu: "CPU",
    cpuTitle: "This kernel runs on the CPU",
    ask: "Ask for a GPU",
    leave: "Leave the queue",
    giveBack: "Give the GPU back",
    giveBackTitle: "Give the GPU back?",
    giveBackText:
      "The kernel starts again on the CPU and forgets its variables. The notebook stays as it is.",
    cancel: "Cancel",
    booking: (from, to) => `Book ${from} to ${to} under “My compute” in the LMS.`,
    instead: "Instead of waiting",
    smaller: "A smaller part of a GPU is free now.",
    switchTo: (name) => `Switch to ${name}`,
    away: "The LMS does not answer, so no GPU can be asked for now.",
    broker: "The GPU could not be opened, so the kernel started on the CPU.",
    unsure: "What it has is not known just now. We look again soon.",
    failed: "That did not work. Please try again in a while.",
    close: "Close",
    inNotebook: (name, text) => `${name}: ${text}`,
  },
};

// How often the server is asked, in milliseconds, by what the most impatient kernel waits for.
const PAUSES = { waiting: 2000, ready: 4000, gpu: 10000, cpu: 20000 };
const HIDDEN_PAUSE = 15000;
const LONGEST_PAUSE = 60000;
// As on the pages of the LMS.
const CLOCK = { hour: "2-digit", minute: "2-digit", timeZone: "Asia/Seoul" };
const DAY = { weekday: "long", timeZone: "Asia/Seoul" };

// JupyterLab's modules, and every notebook that is followed, by the kernel's id.
let lab = null;
const followed = new Set();

/** Load what the chips need; returns the function that gives a notebook its chip. */
export async function prepare(shared, styles) {
  const [apputils, notebook, services, coreutils, widgets] = await Promise.all(
    ["apputils", "notebook", "services", "coreutils"]
      .map((name) => shared(`@jupyterlab/${name}`))
      .concat(shared("@lumino/widgets")),
  );
  lab = { ...apputils, ...notebook, ...services, ...coreutils, Widget: widgets.Widget };
  const link = make("link", { rel: "stylesheet", href: styles.href });
  await new Promise((done) => {
    link.onload = link.onerror = done;
    document.head.append(link);
  });
  document.addEventListener("visibilitychange", () => poll.soon());
  return (app, panel, hasProfile) => new Chip(app, panel, hasProfile);
}

// --- talking to the server ---

async function ask(path = "", body = undefined) {
  const settings = lab.ServerConnection.makeSettings();
  const address = lab.URLExt.join(settings.baseUrl, "seodang/gpu", path);
  const init = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const answer = await lab.ServerConnection.makeRequest(address, init, settings);
  if (!answer.ok) throw new Error(`${answer.status} of ${address}`);
  return answer.json();
}

const poll = {
  timer: 0,
  failures: 0,
  isAsking: false,

  soon(pause = 0) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), pause);
  },

  async look() {
    if (this.isAsking) return;
    const chips = [...followed].filter((chip) => chip.isOfGpu);
    if (!chips.length) return;
    this.isAsking = true;
    try {
      const { kernels } = await ask();
      this.failures = 0;
      for (const chip of chips) chip.show(kernels[chip.kernelId] ?? null);
    } catch {
      // The page says by itself when its server is gone; a chip only stops claiming to know.
      this.failures += 1;
      if (this.failures > 2) for (const chip of chips) chip.show(null);
    } finally {
      this.isAsking = false;
    }
    this.soon(this.pause());
  },

  pause() {
    const states = [...followed].map((chip) => PAUSES[chip.seat?.state] ?? PAUSES.cpu);
    const pause = Math.min(LONGEST_PAUSE, Math.min(...states) * 2 ** this.failures);
    return document.hidden ? Math.max(pause, HIDDEN_PAUSE) : pause;
  },
};

// --- one notebook ---

class Chip {
  constructor(app, panel, hasProfile) {
    this.app = app;
    this.panel = panel;
    this.context = panel.sessionContext;
    this.hasProfile = hasProfile;
    this.seat = null;
    this.notes = {};
    this.button = make("button", { type: "button", className: "seodang-gpu-chip" });
    this.button.setAttribute("aria-haspopup", "dialog");
    this.button.onclick = () => this.open();
    this.widget = new lab.Widget({ node: make("div", {}, [this.button]) });
    this.widget.addClass("seodang-gpu");
    if (!panel.toolbar.insertBefore("kernelName", "seodang-gpu", this.widget)) {
      panel.toolbar.addItem("seodang-gpu", this.widget);
    }
    this.card = make("div", { className: "seodang-gpu-panel", popover: "auto", tabIndex: -1 });
    this.card.setAttribute("role", "dialog");
    this.card.addEventListener("toggle", () => {
      this.button.setAttribute("aria-expanded", String(this.isOpen));
    });
    document.body.append(this.card);
    followed.add(this);
    this.context.kernelChanged.connect(this.changed, this);
    this.context.statusChanged.connect(this.changed, this);
    panel.disposed.connect(() => this.end());
    this.changed();
  }

  get kernelId() {
    return this.context.session?.kernel?.id ?? "";
  }

  get isOfGpu() {
    return this.hasProfile(this.context.session?.kernel?.name ?? "");
  }

  get isOpen() {
    return this.card.matches(":popover-open");
  }

  get words() {
    return WORDS[this.seat?.language] ?? WORDS[language()];
  }

  // A new kernel, or one that has just started again, has news; computing is none.
  changed() {
    const status = this.context.kernelDisplayStatus;
    const mark = `${this.kernelId} ${["idle", "busy"].includes(status) ? "runs" : status}`;
    if (mark === this.mark) return;
    this.mark = mark;
    if (!this.isOfGpu) this.show(null);
    poll.soon(100);
  }

  end() {
    followed.delete(this);
    this.dismiss();
    this.card.remove();
  }

  show(seat) {
    const before = this.seat;
    this.seat = seat;
    this.widget.setHidden(!this.isOfGpu);
    const [state, text] = seat ? label(seat, this.words) : ["unsure", "GPU …"];
    this.button.dataset.state = seat?.warning ? "warning" : state;
    if (this.button.textContent !== text) this.button.textContent = text;
    this.button.title = seat ? this.reason() : this.words.unsure;
    if (this.isOpen && JSON.stringify(before) !== JSON.stringify(seat)) this.fill();
    this.notify(before);
  }

  // Why things are as they are, in the LMS's words where it has any.
  reason() {
    const { words, seat } = this;
    if (seat.warning) return seat.warning;
    return seat.fault ? words[seat.fault] : seat.text;
  }

  // --- notifications ---

  notify(before) {
    const { seat, words } = this;
    const actions = [
      { label: words.restart, displayType: "accent", callback: () => this.restart(true) },
    ];
    this.note("ready", seat?.state === "ready" && `${words.ready}. ${words.readyText}`, "success", actions);
    this.note("warning", seat?.warning, "warning", []);
    if (before?.state === "gpu" && seat?.state === "cpu" && this.reason()) {
      this.note("ended", this.reason(), "info", []);
    }
    if (seat?.state === "gpu") this.note("ended", "", "info", []);
  }

  note(kind, text, type, actions) {
    const { manager } = lab.Notification;
    const known = this.notes[kind];
    const name = lab.PathExt.basename(this.context.path);
    const message = text && this.words.inNotebook(name, text);
    if (!text) {
      if (known) manager.dismiss(known.id);
      delete this.notes[kind];
    } else if (!known) {
      const id = manager.notify(message, type, { actions, autoClose: false });
      this.notes[kind] = { text, id };
    } else if (known.text !== text) {
      known.text = text;
      manager.update({ id: known.id, message });
    }
  }

  dismiss() {
    for (const { id } of Object.values(this.notes)) lab.Notification.manager.dismiss(id);
    this.notes = {};
  }

  // --- the panel ---

  open() {
    if (this.isOpen) return;
    this.fill();
    this.card.showPopover();
    const at = this.button.getBoundingClientRect();
    const { offsetWidth, offsetHeight } = this.card;
    const left = Math.min(at.left, window.innerWidth - offsetWidth - 8);
    const below = at.bottom + 4 + offsetHeight <= window.innerHeight;
    this.card.style.left = `${Math.max(8, left)}px`;
    this.card.style.top = `${below ? at.bottom + 4 : Math.max(8, at.top - offsetHeight - 4)}px`;
    this.card.focus();
  }

  fill() {
    const { seat, words } = this;
    const parts = seat ? this[`fill_${seat.state}`]() : [heading("GPU"), paragraph(words.unsure)];
    const close = this.does(words.close, () => {});
    this.card.replaceChildren(...parts.filter(Boolean));
    if (!this.card.querySelector("button")) this.card.append(buttons(close));
    this.card.setAttribute("aria-label", this.card.querySelector("h2").textContent);
  }

  fill_gpu() {
    const { seat, words } = this;
    return [
      heading(named(seat, words)),
      seat.warning && paragraph(seat.warning, "seodang-gpu-warning"),
      seat.simulated && paragraph(words.fake),
      seat.until && paragraph(words.atMost(clock(seat.until))),
      seat.idle_seconds_allowed && paragraph(words.idle(Math.round(seat.idle_seconds_allowed / 60))),
      buttons(this.does(words.giveBack, () => this.giveBack())),
    ];
  }

  fill_waiting() {
    const { seat, words } = this;
    const offers = seat.offers ?? [];
    const slices = offers.filter((offer) => offer.kind === "slice");
    const booking = offers.find((offer) => offer.kind === "booking");
    return [
      heading(words.queueTitle(seat.position)),
      paragraph(seat.text),
      paragraph(words.meanwhile),
      slices.length + Boolean(booking) > 0 && make("h3", { textContent: words.instead }),
      slices.length > 0 && paragraph(words.smaller),
      booking && paragraph(words.booking(clock(booking.starts_at, words.locale), clock(booking.ends_at))),
      buttons(
        ...slices.map((offer) => this.switchButton(offer)),
        this.does(words.leave, () => this.wish("cpu")),
      ),
    ];
  }

  fill_ready() {
    const { words } = this;
    return [
      heading(words.ready),
      paragraph(words.readyText),
      buttons(
        this.does(words.restart, () => this.restart(true), true),
        this.does(words.keepCpu, () => this.wish("cpu")),
      ),
    ];
  }

  fill_cpu() {
    const { words } = this;
    return [
      heading(words.cpuTitle),
      this.reason() && paragraph(this.reason()),
      buttons(this.does(words.ask, () => this.wish("gpu"), true)),
    ];
  }

  switchButton(offer) {
    const [base] = this.context.session.kernel.name.split(".");
    const name = `${base}.${offer.profile}`;
    const spec = this.app.serviceManager.kernelspecs.specs?.kernelspecs[name];
    const title = spec?.display_name.split(" · ").at(-1) ?? offer.profile;
    const work = async () => {
      await this.wish("cpu");
      await this.context.changeKernel({ name });
    };
    return this.does(this.words.switchTo(title), work, true);
  }

  does(text, work, isFirst = false) {
    const button = make("button", { type: "button", textContent: text });
    button.className = `jp-Dialog-button jp-mod-styled ${isFirst ? "jp-mod-accept" : "jp-mod-reject"}`;
    button.onclick = async () => {
      this.card.hidePopover();
      try {
        await work();
      } catch (error) {
        console.error(error);
        lab.Notification.error(this.words.failed);
      }
    };
    return button;
  }

  // --- what a person can do ---

  async wish(wants) {
    this.show(await ask(this.kernelId, { wants }));
    poll.soon(PAUSES.waiting);
  }

  async restart(runAll) {
    this.dismiss();
    await this.context.restartKernel();
    if (runAll) await lab.NotebookActions.runAll(this.panel.content, this.context);
  }

  async giveBack() {
    const { words } = this;
    const { button } = await lab.showDialog({
      title: words.giveBackTitle,
      body: words.giveBackText,
      buttons: [
        lab.Dialog.cancelButton({ label: words.cancel }),
        lab.Dialog.warnButton({ label: words.giveBack }),
      ],
    });
    if (!button.accept) return;
    await ask(this.kernelId, { wants: "cpu" });
    await this.restart(false);
  }
}

// --- shapes and words ---

function label(seat, words) {
  if (seat.state === "gpu") {
    const until = seat.until && words.until(clock(seat.until));
    return ["gpu", [named(seat, words), until].filter(Boolean).join(" · ")];
  }
  if (seat.state === "ready") return ["ready", words.ready];
  if (seat.state === "cpu") return ["cpu", words.cpu];
  if (!seat.position) return ["waiting", words.preparing];
  const minutes = seat.minutes == null ? "" : words.about(seat.minutes);
  return ["waiting", [words.waiting, words.place(seat.position), minutes].filter(Boolean).join(" · ")];
}

// Simulated devices have short names; those of real ones are long numbers that help nobody.
function named(seat, words) {
  if (!seat.simulated) return words.gpu;
  const numbers = seat.devices.map((device) => device.split("-").at(-1)).join(", ");
  return `${words.gpu} ${numbers} (${words.simulated})`;
}

// The time of day; with a language also the day of the week.
function clock(iso, locale = "") {
  const day = locale ? `${new Date(iso).toLocaleDateString(locale, DAY)} ` : "";
  return day + new Date(iso).toLocaleTimeString("en-GB", CLOCK);
}

function language() {
  const [wanted] = [document.documentElement.lang, navigator.language].filter(Boolean);
  return (wanted ?? "").toLowerCase().startsWith("ko") ? "ko" : "en";
}

function make(tag, properties = {}, children = []) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

const heading = (text) => make("h2", { textContent: text });
const paragraph = (text, className = "") => make("p", { textContent: text, className });
const buttons = (...all) => make("div", { className: "seodang-gpu-buttons" }, all);
