// Converse over a TCP connection: live_node.mjs '{"url": …, "seed": …, "peer": …}'
import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { converse } from "./live.mjs";

const options = JSON.parse(process.argv[2]);
const nc = await connect({ servers: options.url });
process.stdout.write(JSON.stringify(await converse(nc, jetstream(nc), options)) + "\n");
await nc.close();
