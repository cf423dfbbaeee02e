// Goes through a container's life with dockerode, found by its environment. It says ok, or ends with what went wrong. The image is
// its argument.
'use strict';

const assert = require('node:assert');
const { PassThrough } = require('node:stream');
const Docker = require('dockerode');

const docker = new Docker();
const deadline = setTimeout(() => fail(new Error('not within a minute')), 60_000);

function fail(err) {
  console.error(err);
  process.exit(1);
}

// all reads a stream to its end.
async function all(stream) {
  let text = '';
  for await (const part of stream) text += part;
  return text;
}

// parted reads a stream of output and errors in one.
async function parted(stream) {
  const out = new PassThrough();
  const err = new PassThrough();
  docker.modem.demuxStream(stream, out, err);
  stream.on('end', () => { out.end(); err.end(); });
  return Promise.all([all(out), all(err)]);
}

// echoed runs a container that says what it is told, attached with its input.
async function echoed(image) {
  const c = await docker.createContainer({
    Image: image, Cmd: ['cat'], OpenStdin: true, StdinOnce: true, HostConfig: { Memory: 64 << 20, NanoCpus: 100_000_000 },
  });
  const stream = await c.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
  await c.start();
  stream.end('over and back');
  const [out] = await parted(stream);
  assert.strictEqual(out, 'over and back');
  const { StatusCode } = await c.wait();
  assert.strictEqual(StatusCode, 0);
  await c.remove();
}

// served looks at a container that goes on, and runs commands in it.
async function served(image) {
  const c = await docker.createContainer({ Image: image, name: 'dockerode', Cmd: ['sh', '-c', 'echo begun; exec sleep 600'], StopTimeout: 0, Labels: { suite: 'dockerode' } });
  await c.start();
  const exec = await c.exec({ Cmd: ['sh', '-c', 'echo inside; echo wrong >&2; exit 3'], AttachStdout: true, AttachStderr: true });
  const [out, err] = await parted(await exec.start({}));
  assert.deepStrictEqual([out, err, (await exec.inspect()).ExitCode], ['inside\n', 'wrong\n', 3]);
  const list = await docker.listContainers({ filters: { label: ['suite=dockerode'] } });
  assert.deepStrictEqual(list.map((l) => [l.Id, l.Names[0], l.State]), [[c.id, '/dockerode', 'running']]);
  const logs = await c.logs({ stdout: true, follow: false });
  assert.match(logs.toString(), /begun/);
  const stats = await c.stats({ stream: false });
  assert.ok(stats.memory_stats.usage > 0);
  await c.update({ NanoCpus: 200_000_000 });
  assert.strictEqual((await c.inspect()).HostConfig.NanoCpus, 200_000_000);
  await c.stop();
  await c.remove();
  await assert.rejects(c.inspect(), (e) => e.statusCode === 404);
}

async function main() {
  const image = process.argv[2];
  assert.strictEqual((await docker.ping()).toString(), 'OK');
  const events = await docker.getEvents({ filters: { container: ['dockerode'] } });
  await echoed(image);
  await served(image);
  let told = '';
  for await (const part of events) {
    told += part;
    if (told.includes('"destroy"')) break;
  }
  for (const action of ['create', 'start', 'die']) assert.match(told, new RegExp(`"${action}"`));
  clearTimeout(deadline);
  console.log('ok');
  process.exit(0);
}

main().catch(fail);
