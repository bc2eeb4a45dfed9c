// SPDX-License-Identifier: Apache-2.0
// Drives the peer (npm's node-llama-cpp) for compare.py: one process, one model, one backend.
// Writes one JSON object a line on standard output as soon as a result is there, so that what was
// measured before a crash counts.
//
//   node peer.mjs '{"model": FILE, "backend": "vulkan" | "cpu", "threads": 2, "prompt": [ids],
//                   "greedy": 16, "prefill": [[ids], ...], "decode": 16, "repeat": 3}'
import process from "node:process";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

const job = JSON.parse(process.argv[2]);

function say(what, values) {
    process.stdout.write(JSON.stringify({what, ...values}) + "\n");
}

// Wall and CPU nanoseconds of an asynchronous function.
async function timed(work) {
    const cpu = process.cpuUsage(), begin = process.hrtime.bigint();
    await work();
    const wall = process.hrtime.bigint() - begin, used = process.cpuUsage(cpu);
    return {ns: Number(wall), cpu_ns: 1000 * (used.user + used.system)};
}

async function generate(sequence, tokens, count, each) {
    let n = 0;
    for await (const token of sequence.evaluate(tokens, {temperature: 0, yieldEogToken: true})) {
        if (each) each(token);
        if (++n === count) return token;
    }
    throw new Error("generation ended early");
}

async function main() {
    const vulkan = job.backend === "vulkan";
    const llama = await getLlama({
        gpu: vulkan ? "vulkan" : false, build: "never", skipDownload: true,
        logLevel: LlamaLogLevel.error, maxThreads: job.threads, vramPadding: 0, ramPadding: 0
    });
    const model = await llama.loadModel({
        modelPath: job.model, gpuLayers: vulkan ? "max" : 0, ignoreMemorySafetyChecks: true
    });
    const sizes = job.prefill.map((tokens) => tokens.length);
    const context = await model.createContext({
        contextSize: Math.max(job.prompt.length + job.greedy, job.decode, ...sizes) + 16,
        batchSize: Math.max(job.prompt.length, ...sizes),
        threads: job.threads, ignoreMemorySafetyChecks: true
    });
    const sequence = context.getSequence();
    const devices = vulkan ? await llama.getGpuDeviceNames() : ["CPU"];
    say("ready", {device: devices.join(", "), gpuLayers: model.gpuLayers});

    const greedy = [];
    await generate(sequence, job.prompt, job.greedy, (token) => {
        if (greedy.length === 0) say("first", {});
        greedy.push(token);
    });
    say("greedy", {tokens: greedy});

    for (let i = 0; i < job.repeat; i++) {
        for (const tokens of job.prefill) {
            if (i === 0) { // not timed: the first use of a shape compiles
                await sequence.clearHistory();
                await sequence.evaluateWithoutGeneratingNewTokens(tokens);
            }
            await sequence.clearHistory();
            const spent = await timed(() => sequence.evaluateWithoutGeneratingNewTokens(tokens));
            say("prefill", {n: tokens.length, ...spent});
        }
        if (!job.decode) continue;
        await sequence.clearHistory();
        const last = await generate(sequence, job.prompt.slice(0, 1), 2);
        const spent = await timed(() => generate(sequence, [last], job.decode));
        say("decode", {n: job.decode, ...spent});
    }
    say("done", {});
}

try {
    await main();
    process.exit(0);
} catch (error) {
    say("error", {text: String(error)});
    process.exit(1);
}
