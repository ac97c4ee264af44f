// SPDX-License-Identifier: Apache-2.0
// Compiles a job as Flamenco's Manager does, with the globals that it documents for job types:
//   node flamenco_stubs.js JOB_TYPE.js SETTINGS_JSON  prints the job type and its tasks as JSON.
"use strict";
const fs = require("fs");
const vm = require("vm");

class Task {
    constructor(name, type) {
        if (!name || !type) throw new Error("author.Task(name, type)");
        Object.assign(this, { name, type, commands: [], dependencies: [] });
    }
    addCommand(command) { this.commands.push(command); }
    addDependency(task) { this.dependencies.push(task.name); }
}

function frameChunker(range, size) {
    const [first, last] = range.split("-").map(Number);
    const chunks = [];
    for (let a = first; a <= last; a += size) {
        const frames = Array.from({ length: Math.min(size, last - a + 1) }, (_, k) => a + k);
        // Two frames are listed, more become a range.
        chunks.push(frames.length < 3 ? frames.join(",") : `${a}-${frames[frames.length - 1]}`);
    }
    return chunks;
}

const tasks = [];
const context = {
    author: { Task: (name, type) => new Task(name, type), Command: (name, parameters) => ({ name, parameters }) },
    path: {
        basename: (p) => p.split("/").pop(), dirname: (p) => p.split("/").slice(0, -1).join("/"),
        join: (...parts) => parts.join("/"), stem: (p) => p.split("/").pop().replace(/\.[^.]*$/, ""),
    },
    frameChunker,
    shellSplit: (text) => (text.match(/"[^"]*"|\S+/g) || []).map((part) => part.replace(/^"|"$/g, "")),
    print: () => {},
};
vm.createContext(context);
vm.runInContext(fs.readFileSync(process.argv[2], "utf8"), context);
const type = vm.runInContext("JOB_TYPE", context);
const settings = Object.fromEntries(type.settings.filter((one) => "default" in one).map((one) => [one.key, one.default]));
context.job = { settings: { ...settings, ...JSON.parse(process.argv[3]) }, addTask: (task) => tasks.push(task) };
vm.runInContext("compileJob(job)", context);
console.log(JSON.stringify({ type, tasks }));
