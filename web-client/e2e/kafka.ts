// A real Kafka broker with vehicles that report to it.
// Invariant: on free ports, with the jars that the Rust tests fetch, and gone when the test ends.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Kafka as Client, logLevel, type Producer } from 'kafkajs';
import { freePort } from './gateway';

const VERSION = '4.4.0';
const START_MS = 60_000;
const root = fileURLToPath(new URL('../..', import.meta.url));
const jars = join(process.env.FLEETCAST_TEST_CACHE ?? join(root, '.cache'), 'kafka', VERSION);
const JAVA = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', `${jars}/*`];

/** The Rust tests fetch the broker; a machine that never ran them has none. */
export const hasBroker = (): boolean => existsSync(jars);

export class Broker {
  readonly brokers: string;
  readonly #dir: string;
  readonly #process: ChildProcess;
  readonly #producer: Producer;
  readonly #client: Client;
  #reports: ReturnType<typeof setInterval> | undefined;

  private constructor(port: number, dir: string) {
    this.brokers = `127.0.0.1:${port}`;
    this.#dir = dir;
    this.#process = spawn('java', [...JAVA, 'kafka.Kafka', join(dir, 'server.properties')], {
      stdio: 'ignore',
    });
    this.#client = new Client({
      brokers: [this.brokers],
      logLevel: logLevel.NOTHING,
      retry: { retries: 0 },
    });
    // A topic's leaders are known a moment after it was made.
    this.#producer = this.#client.producer({ retry: { retries: 8, initialRetryTime: 200 } });
  }

  static async start(): Promise<Broker> {
    const [port, controller] = [await freePort(), await freePort()];
    const dir = mkdtempSync(join(tmpdir(), 'fleetcast-kafka-'));
    writeFileSync(join(dir, 'server.properties'), properties(port, controller, dir));
    const id = `${'Zmxl'.repeat(5)}ZQ`;
    const config = join(dir, 'server.properties');
    execFileSync('java', [...JAVA, 'kafka.tools.StorageTool', 'format', '-t', id, '-c', config]);
    const broker = new Broker(port, dir);
    await broker.#up();
    return broker;
  }

  async #up(): Promise<void> {
    const deadline = Date.now() + START_MS;
    while (Date.now() < deadline) {
      try {
        await this.#producer.connect();
        return;
      } catch {
        await new Promise((again) => setTimeout(again, 250));
      }
    }
    await this.stop();
    throw new Error('kafka did not start');
  }

  async topic(name: string): Promise<string> {
    const admin = this.#client.admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic: name, numPartitions: 2 }], waitForLeaders: true });
    await admin.disconnect();
    return name;
  }

  async send(topic: string, values: string[]): Promise<void> {
    const messages = values.map((value, i) => ({ key: String(i), value }));
    await this.#producer.send({ topic, messages });
  }

  /** So many vehicles drive around Munich and report every second, until the broker stops. */
  async drive(topic: string, count: number): Promise<void> {
    const report = () =>
      this.send(
        topic,
        Array.from({ length: count }, (_, i) => JSON.stringify(vehicle(i, Date.now()))),
      );
    await report();
    this.#reports = setInterval(() => void report().catch(() => {}), 1_000);
  }

  async stop(): Promise<void> {
    clearInterval(this.#reports);
    await this.#producer.disconnect().catch(() => {});
    this.#process.kill('SIGKILL');
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

function vehicle(i: number, ts: number) {
  const angle = (i * 2.4 + ts / 60_000) % (2 * Math.PI);
  const far = 0.1 + (i % 50) / 50;
  return {
    assetId: `van-${i}`,
    fleetId: `depot-${i % 4}`,
    ts,
    lat: 48.1 + far * Math.sin(angle),
    lon: 11.5 + 1.4 * far * Math.cos(angle),
    speed_kmh: 40 + (i % 30),
  };
}

const properties = (port: number, controller: number, dir: string) => `
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controller}
listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}
advertised.listeners=PLAINTEXT://127.0.0.1:${port}
controller.listener.names=CONTROLLER
log.dirs=${join(dir, 'data')}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
`;
