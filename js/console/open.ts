/**
 * The page "Open here": opens envelopes in the tab, with the viewer's own key.
 *
 * Nothing is stored, and nothing is sent but what a login to the nats-server needs. `Forget`, and leaving the page, drop
 * the key and all that was opened.
 */
import { ANYONE, type Senders } from "../src/admission.js";
import { type Bytes, latin1 } from "../src/bytes.js";
import { fail, XKeyMsgError } from "../src/errors.js";
import { inspect, type Inspected } from "../src/inspect.js";
import { decodeUser, XKey } from "../src/keys.js";
import { Opener } from "../src/opener.js";
import { Peers } from "../src/peers.js";
import { checkPattern } from "../src/subject.js";
import { isProtected, releaseSeed } from "../src/text.js";
import { Follower, type Login } from "./follow.js";
import { type Input, MOST_INPUT, readFile, readText } from "./input.js";
import { opened, refused } from "./show.js";

const MOST_SHOWN = 200;
const MOST_NODES = 60_000;
const MOST_CHARACTERS = 8 << 20;

const get = <E extends HTMLElement>(id: string): E => document.getElementById(id) as E;
const input = (id: string) => get<HTMLInputElement>(id);
const root = get("open");
const say = (id: string, text: string): void => void (get(id).textContent = text);

/** What the viewer has entered: a key, and who may send. */
interface Reader {
  readonly key: XKey;
  readonly user: string | undefined;
}

let reader: Reader | undefined;
/** Grows with each key that is entered, and with each that is forgotten. */
let attempt = 0;
let follower: Follower | undefined;
const counts = { opened: 0, refused: 0, foreign: 0 };

const reasonOf = (error: unknown): string =>
  error instanceof XKeyMsgError ? `${error.message} (${error.code})` : error instanceof TypeError ? error.message : "the page failed";

// The key.

/** Take the text of a field, and empty it. */
function taken(id: string): string {
  const field = input(id);
  const { value } = field;
  field.value = "";
  return value.trim();
}

async function seedText(): Promise<string> {
  const [file] = input("seed-file").files ?? [];
  const typed = taken("seed");
  if (typed || !file) return typed;
  input("seed-file").value = "";
  if (file.size > 65_536) fail("key_format", "this is not a file with a seed");
  const lines = (await file.text()).split("\n").map((line) => line.trim());
  return lines.find((line) => line && !line.startsWith("#")) ?? "";
}

async function hasCurve(): Promise<boolean> {
  try {
    await crypto.subtle.importKey("raw", new Uint8Array(32).fill(9), "X25519", false, []);
    return true;
  } catch {
    return false;
  }
}

async function useKey(): Promise<void> {
  const mine = ++attempt;
  reader = undefined;
  stopFollowing("");
  const passphrase = taken("passphrase");
  const sayKey = (text: string) => mine === attempt && say("key-state", text);
  sayKey("reading the key …");
  try {
    if (!(await hasCurve())) throw new TypeError("this browser cannot keep a key of X25519 to itself: use a newer one, over HTTPS or on loopback");
    let seed = await seedText();
    if (isProtected(seed)) {
      sayKey("deriving the key from the passphrase …");
      seed = await releaseSeed(seed, passphrase);
    }
    const key = await XKey.fromSeed(seed);
    const user = input("user").value.trim() || undefined;
    if (user !== undefined) decodeUser(user);
    if (mine !== attempt) return; // it was forgotten meanwhile
    reader = { key, user };
    sayKey(`Opening with ${key.public}`);
    say("open-state", "");
  } catch (error) {
    sayKey(`No key: ${reasonOf(error)}`);
  }
}

// Trust.

function senders(): Senders {
  if (input("trust-anyone").checked) return ANYONE;
  const text = get<HTMLTextAreaElement>("trust").value;
  if (input("trust-peers").checked) return Peers.parse(text);
  const keys = text.split(/[\s,]+/).filter((each) => each);
  if (!keys.length) fail("key_format", "who may send? List their keys X…, or choose a peers file, or anyone");
  return keys;
}

interface Opening {
  readonly opener: Opener;
  readonly names: (sender: string) => readonly string[];
  readonly reader: Reader;
}

async function makeOpening(replay: "live" | "none"): Promise<Opening> {
  const mine = reader;
  if (!mine) return fail("key_format", "enter your key first");
  const who = senders();
  const user = mine.user ?? (await userOfCreds());
  const opener = new Opener(mine.key, { senders: who, replay, ...(user === undefined ? {} : { user }) });
  return { opener, names: (sender) => (who instanceof Peers ? who.namesOf(sender) : []), reader: mine };
}

// Results.

const sizes = new WeakMap<Element, [nodes: number, characters: number]>();
const held: [nodes: number, characters: number] = [0, 0];

function hold(item: Element, sign: 1 | -1): void {
  const [nodes, characters] = sizes.get(item)!;
  held[0] += sign * nodes;
  held[1] += sign * characters;
}

function add(result: HTMLDetailsElement, isOpen: boolean): void {
  const list = get("results");
  const item = document.createElement("li");
  result.open = isOpen;
  item.append(result);
  sizes.set(item, [item.getElementsByTagName("*").length, item.textContent!.length]);
  hold(item, 1);
  list.prepend(item);
  while (list.childElementCount > MOST_SHOWN || (list.childElementCount > 1 && (held[0] > MOST_NODES || held[1] > MOST_CHARACTERS))) {
    hold(list.lastElementChild!, -1);
    list.lastElementChild!.remove();
  }
  if (result.querySelector("summary .code")?.textContent === "not_a_recipient") counts.foreign++;
  counts[result.querySelector(".state")!.textContent === "refused" ? "refused" : "opened"]++;
  count();
}

function count(): void {
  const shownNow = get("results").childElementCount;
  const total = counts.opened + counts.refused;
  const doubt = counts.foreign && !counts.opened ? `; sealed to other keys: ${counts.foreign}; is yours the right one?` : "";
  const dropped = follower?.dropped ? `, ${follower.dropped} not opened: they arrived too fast` : "";
  say("status", total ? `${counts.opened} opened, ${counts.refused} refused${shownNow < total ? `; the newest ${shownNow} are shown` : ""}${dropped}${doubt}` : "");
}

function seen(envelope: Bytes): Inspected | undefined {
  try {
    return inspect(envelope);
  } catch {
    return undefined;
  }
}

async function show(found: Input, from: string, subject: string, opening: Opening, isOpen: boolean): Promise<void> {
  const arrival = { from, reader: opening.reader.key.public, input: found };
  const inspected = seen(found.envelope);
  let result;
  try {
    const isDocument = inspected?.kind === "document";
    const message = await opening.opener[isDocument ? "openDocument" : "open"](found.envelope, { subject });
    result = opened(message, inspected!, arrival, opening.names(message.sender));
  } catch (error) {
    result = refused(error, inspected, arrival);
  }
  if (opening.reader === reader) add(result, isOpen); // else it was forgotten meanwhile
}

// By hand.

type Source = readonly [from: string, read: () => Promise<Input> | Input];

const sourceOf = (file: File): Source => [
  `file ${file.name}`,
  async () => (file.size > MOST_INPUT ? fail("limit_exceeded", "the file is too large") : readFile(new Uint8Array(await file.arrayBuffer()))),
];

async function openAll(sources: readonly Source[]): Promise<void> {
  try {
    const opening = await makeOpening("none");
    const subject = checkPattern(input("expected").value.trim() || ">");
    if (!sources.length) fail("malformed", "paste an envelope, or choose a file");
    say("open-state", "");
    for (const [from, read] of sources.slice(0, MOST_SHOWN)) {
      let found;
      try {
        found = await read();
      } catch (error) {
        if (opening.reader === reader) add(refused(error, undefined, { from, reader: opening.reader.key.public, input: { envelope: new Uint8Array(), origin: [] } }), true);
        continue;
      }
      await show(found, from, subject, opening, true);
    }
  } catch (error) {
    say("open-state", `Not opened: ${reasonOf(error)}`);
  }
}

function openEntered(): Promise<void> {
  const pasted = get<HTMLTextAreaElement>("envelope").value;
  const files = [...(input("files").files ?? [])].map(sourceOf);
  return openAll(pasted.trim() ? [["pasted", () => readText(pasted)], ...files] : files);
}

// Following.

async function readCreds(): Promise<Bytes | undefined> {
  const [file] = input("creds").files ?? [];
  return file && new Uint8Array(await file.slice(0, 65_536).arrayBuffer());
}

/** Return the user of the chosen credentials, which need no proof: they are the viewer's own. */
async function userOfCreds(): Promise<string | undefined> {
  const creds = await readCreds();
  if (!creds) return undefined;
  const claims = /-BEGIN NATS USER JWT-+\s+[\w-]+\.([\w-]+)\./.exec(latin1(creds))?.[1];
  try {
    const { sub } = JSON.parse(atob(claims!.replaceAll("-", "+").replaceAll("_", "/")));
    decodeUser(sub);
    return sub;
  } catch {
    return fail("key_format", "the credentials file has no user");
  }
}

async function loginOf(): Promise<Login> {
  const creds = await readCreds();
  if (creds) return { creds };
  const user = input("nats-user").value;
  return user ? { user, password: input("nats-password").value } : {};
}

function stopFollowing(text: string): void {
  follower?.stop();
  follower = undefined;
  const button = get<HTMLButtonElement>("follow");
  button.textContent = "Follow";
  button.setAttribute("aria-pressed", "false");
  say("follow-state", text);
}

async function follow(): Promise<void> {
  if (follower) return stopFollowing("stopped");
  try {
    const subject = checkPattern(input("subject").value.trim());
    const opening = await makeOpening("live");
    if (follower || opening.reader !== reader) return;
    const mine = new Follower({
      message: (envelope, on) => show({ envelope, origin: [] }, `on ${on}`, subject, opening, false),
      state: (text, isOver) => (isOver ? stopFollowing(text) : say("follow-state", text)),
    });
    follower = mine;
    const button = get<HTMLButtonElement>("follow");
    button.textContent = "Stop";
    button.setAttribute("aria-pressed", "true");
    say("follow-state", "connecting …");
    const login = await loginOf();
    if (follower === mine) await mine.start(root.dataset.websocket!, subject, login);
  } catch (error) {
    stopFollowing(`Not followed: ${reasonOf(error)}`);
  }
}

// Forgetting.

function forget(): void {
  attempt++;
  reader = undefined;
  stopFollowing("");
  for (const field of root.querySelectorAll<HTMLInputElement | HTMLTextAreaElement>("input:not([type=radio]), textarea")) field.value = field.defaultValue;
  input("trust-keys").checked = true;
  get("results").replaceChildren();
  held.fill(0);
  counts.opened = counts.refused = counts.foreign = 0;
  for (const id of ["status", "open-state", "follow-state"]) say(id, "");
  say("key-state", "No key.");
}

// The page.

function onEnter(id: string, action: () => unknown): void {
  get(id).addEventListener("keydown", (event) => {
    if (event.key === "Enter") action();
  });
}

for (const [id, action] of [["use", useKey], ["forget", forget], ["open-now", openEntered], ["follow", follow]] as const) {
  get(id).addEventListener("click", () => void action());
}
for (const id of ["seed", "passphrase", "user"]) onEnter(id, useKey);
for (const id of ["subject", "nats-user", "nats-password"]) onEnter(id, () => follower ?? follow());
onEnter("expected", openEntered);

const drop = get("drop");
for (const name of ["dragenter", "dragover", "dragleave", "drop"] as const) {
  document.addEventListener(name, (event) => {
    const { types, files } = event.dataTransfer!;
    if (!types.includes("Files")) return; // text goes into the field on which it is dropped
    event.preventDefault(); // a file must not replace the page, wherever it is dropped
    drop.classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop") void openAll([...files].map(sourceOf));
  });
}
window.addEventListener("pagehide", forget);
forget(); // browsers restore fields
for (const each of root.querySelectorAll("fieldset")) each.disabled = each.id === "following" && !root.dataset.websocket;
root.dataset.ready = "";
