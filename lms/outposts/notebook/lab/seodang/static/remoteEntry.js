// Our extension of JupyterLab 4, written by hand in the form that its bundler gives to extensions: a
// container with init() and get(). There is nothing to build; JupyterLab's own modules come from the
// scope that it hands to init(). This file is all that a start loads; the rest follows with the first
// notebook whose kernel has a GPU profile. See docs/adr/0029-extension-without-a-build.md.
"use strict";
(() => {
  const here = new URL(document.currentScript.src);
  let scope = {};

  // A shared module by its name; JupyterLab offers one version of each.
  async function shared(name) {
    const [module] = Object.values(scope[name] ?? {});
    if (!module) throw new Error(`JupyterLab offers no ${name}`);
    return (await module.get())();
  }

  // The kernels that our server names after a GPU profile: python3.gpu-slice, seodang-1a2b.gpu.
  const hasProfile = (kernel) => /^(python3|seodang-[^.]+)\../.test(kernel);

  function watch(app, tracker, load) {
    tracker.forEach(follow);
    tracker.widgetAdded.connect((_, panel) => follow(panel));

    function follow(panel) {
      const context = panel.sessionContext;
      const look = () => {
        if (!hasProfile(context.session?.kernel?.name ?? "")) return;
        context.kernelChanged.disconnect(look);
        context.statusChanged.disconnect(look);
        load().then((show) => show(app, panel, hasProfile), console.error);
      };
      context.kernelChanged.connect(look);
      context.statusChanged.connect(look);
      look();
    }
  }

  // What the server has to say as soon as somebody comes: that the home folder is nearly full.
  async function tellNotice() {
    const config = JSON.parse(document.getElementById("jupyter-config-data")?.textContent || "{}");
    if (!config.seodangNotice) return;
    const { Notification } = await shared("@jupyterlab/apputils");
    Notification.warning(config.seodangNotice, { autoClose: false });
  }

  async function makePlugin() {
    const { INotebookTracker } = await shared("@jupyterlab/notebook");
    let loading = null;
    const load = () =>
      (loading ??= import(new URL(`gpu.js${here.search}`, here)).then((gpu) =>
        gpu.prepare(shared, new URL(`gpu.css${here.search}`, here)),
      ));
    return {
      id: "seodang:gpu",
      description: "Shows what a kernel with a GPU profile got, or waits for.",
      autoStart: true,
      requires: [INotebookTracker],
      activate: (app, tracker) => {
        watch(app, tracker, load);
        app.restored.then(tellNotice).catch(console.error);
      },
    };
  }

  (window._JUPYTERLAB ??= {}).seodang = {
    init(given) {
      scope = given;
    },
    async get(name) {
      if (name !== "./extension") throw new Error(`seodang has no module ${name}`);
      const plugin = await makePlugin();
      return () => ({ __esModule: true, default: plugin });
    },
  };
})();
