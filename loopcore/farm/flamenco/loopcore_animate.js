// SPDX-License-Identifier: Apache-2.0

// A job type for Flamenco: Loopcore makes a looping image sequence from a still plate.
//
// Install: copy this file into the folder `scripts` beside flamenco-manager. Set the variable `loopcore` of the Manager
// to the executable on the Workers. Documentation: docs/pipeline.md.
//
// Tasks: one predicts the motion, unless a motion is given; then the frames by chunks; then the film, and the check.
// Each is a command of its own, which skips what is up to date: a task that failed or was lost is run again.

const JOB_TYPE = {
    label: "Loopcore Animate",
    settings: [
        { key: "plate", type: "string", subtype: "file_path", required: true, visible: "submission",
          description: "The still: EXR, PNG, JPEG and others" },
        { key: "output", type: "string", subtype: "dir_path", required: true, visible: "submission",
          description: "Folder for the frames, on storage that all Workers share" },
        { key: "hints", type: "string", subtype: "file_path", default: "", visible: "submission",
          description: "Optional: strokes, anchors and mask, Loopcore's or LabelMe's JSON" },
        { key: "mask", type: "string", subtype: "file_path", default: "", visible: "submission",
          description: "Optional: picture that is white where things may move" },
        { key: "motion", type: "string", subtype: "file_path", default: "", visible: "submission",
          description: "Optional: motion field or flow map to use instead of a prediction" },
        { key: "frames", type: "int32", default: 60, propargs: { min: 2 }, visible: "submission",
          description: "Length of the loop" },
        { key: "first", type: "int32", default: 1001, propargs: { min: 0 }, visible: "submission",
          description: "Number of the first frame" },
        { key: "fps", type: "string", default: "24", visible: "submission",
          eval: "f'{C.scene.render.fps}' if C.scene.render.fps_base == 1 else f'{C.scene.render.fps / C.scene.render.fps_base:.3f}'",
          description: "Frames per second, for example 24, 23.976 or 30000/1001" },
        { key: "speed", type: "float", default: 1.0, visible: "submission", description: "Factor on the motion" },
        { key: "chunk_size", type: "int32", default: 5, propargs: { min: 1 }, visible: "submission",
          description: "Frames of a task" },
        { key: "name", type: "string", default: "", visible: "submission",
          description: "Start of the frames' names; empty: the plate's, and _loop" },
        { key: "options", type: "string", default: "", visible: "submission",
          description: "Further options of loopcore animate, for example --cycles 2 --format png" },
    ],
};

// Options that the settings or the tasks give.
const TAKEN = ["-o", "--output", "--hints", "--mask", "--motion", "--frames", "--first", "--fps", "--speed", "--name",
    "--range", "--preview", "--job", "--dask"];
// Options of a plate, which the prediction needs too. All take a value.
const OF_THE_PLATE = ["--layer", "--colorspace", "--weights", "--resolution"];
// Options of a prediction, which a motion already has.
const OF_THE_PREDICTION = ["--weights"];

function compileJob(job) {
    const settings = job.settings;
    refuseBraces(settings);
    const options = furtherOptions(settings.options || "");
    const name = settings.name || `${path.stem(settings.plate)}_loop`;
    const predicts = !settings.motion;
    const motion = settings.motion || path.join(settings.output, "motion_predicted.exr");

    const predict = predicts ? task("predict", predictArguments(settings, motion, options)) : null;
    if (predict) {
        job.addTask(predict);
    }
    const last = settings.first + settings.frames - 1;
    const renders = Array.from(frameChunker(`${settings.first}-${last}`, settings.chunk_size), (chunk) =>
        task(`frames-${chunk}`, animateArguments(settings, name, motion, predicts, options, chunk), predict ? [predict] : []));
    for (const render of renders) {
        job.addTask(render);
    }
    for (const end of [".mp4", "_sheet.png"]) {
        const film = path.join(settings.output, name + end);
        job.addTask(task(`preview${end}`, ["preview", settings.output, "-o", film, `--fps=${settings.fps}`], renders));
    }
    job.addTask(task("check", ["check", settings.output, ...checkedPlate(settings, name, options)], renders));
}

function task(name, args, after = []) {
    const made = author.Task(name, "misc");
    made.addCommand(author.Command("exec", { exe: "{loopcore}", args: args }));
    for (const dependency of after) {
        made.addDependency(dependency);
    }
    return made;
}

function predictArguments(settings, motion, options) {
    const given = options.filter((option) => OF_THE_PLATE.includes(option[0])).flat();
    return ["predict", settings.plate, "-o", motion, ...fileOptions(settings, ["hints", "mask"]), ...given];
}

function animateArguments(settings, name, motion, predicts, options, chunk) {
    // A predicted motion has the mask already.
    const mask = predicts ? [] : fileOptions(settings, ["mask"]);
    const given = options.filter((option) => !predicts || !OF_THE_PREDICTION.includes(option[0])).flat();
    return [
        "animate", settings.plate, "-o", settings.output, `--motion=${motion}`, ...mask, `--name=${name}`,
        `--frames=${settings.frames}`, `--first=${settings.first}`, `--fps=${settings.fps}`, `--speed=${settings.speed}`,
        ...given, `--range=${chunk}`,
    ];
}

function checkedPlate(settings, name, options) {
    const smaller = options.some((option) => option[0] === "--resolution" && option[1] !== "100");
    return smaller ? [`--plate=${path.join(settings.output, `${name}_still.exr`)}`] : [`--plate=${settings.plate}`];
}

function fileOptions(settings, names) {
    return names.filter((name) => settings[name]).map((name) => `--${name}=${settings[name]}`);
}

// Splits the further options into [option] and [option, value].
function furtherOptions(text) {
    const options = [];
    for (const part of text ? shellSplit(text) : []) {
        if (part.startsWith("-") && !/^-[0-9.]/.test(part)) {
            const equals = part.indexOf("=");
            options.push(equals < 0 ? [part] : [part.slice(0, equals), part.slice(equals + 1)]);
        } else if (options.length && options[options.length - 1].length === 1) {
            options[options.length - 1].push(part);
        } else {
            throw new Error(`options: "${part}" belongs to no option`);
        }
    }
    for (const [option] of options) {
        if (TAKEN.includes(option)) {
            throw new Error(`options: ${option} is a setting of its own, or given by the tasks`);
        }
    }
    return options;
}

// Workers put variables in for {name} in all arguments.
function refuseBraces(settings) {
    for (const key of ["plate", "output", "hints", "mask", "motion", "name"]) {
        if (/[{}]/.test(settings[key] || "")) {
            throw new Error(`${key} "${settings[key]}" contains a brace, which Flamenco takes for a variable: rename it`);
        }
    }
}
