"use strict";

// A scheduler of the npm package mesos-framework: one command task, restarted never, and an end when it has finished.
const { Scheduler, Mesos } = require("mesos-framework");
const mesos = Mesos.getMesos();
const [host, port] = process.argv[2].split(":");

const scheduler = new Scheduler({
    masterUrl: host,
    port: Number(port),
    frameworkName: "npm",
    logging: { level: "debug" },
    restartStates: [],
    tasks: {
        hello: {
            priority: 1,
            instances: 1,
            commandInfo: new mesos.CommandInfo(null, null, true, "test -n \"$POLDER_PORT_PORT0\" && echo hello", null, null),
            resources: { cpus: 0.1, mem: 32, ports: 1, disk: 0 },
        },
    },
});
scheduler.on("error", (e) => { console.log("ERROR", e.message || JSON.stringify(e)); });
scheduler.on("update", (u) => {
    const s = u.status || u;
    console.log("UPDATE", s.state);
    if (s.state === "TASK_FINISHED") {
        scheduler.teardown();
        setTimeout(() => process.exit(0), 200);
    }
});
scheduler.on("ready", () => scheduler.subscribe());
setTimeout(() => process.exit(1), 60000);
