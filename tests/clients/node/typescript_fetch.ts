// What a program does with the client that OpenAPI Generator makes (typescript-fetch); prints what it saw, as JSON.
import * as made from "./made/typescript_fetch/client/index.js";

interface Asked { base: string; admin_key: string; user_key: string; email: string; password: string }

const asked: Asked = JSON.parse(process.argv[2] ?? "{}");
const bearing = (key: string) => new made.Configuration({ basePath: asked.base, accessToken: key });
const stranger = new made.Configuration({ basePath: asked.base });

/** The refusal that a call ends in: its status, and its body read as that of its dialect. */
async function refusal<T>(call: Promise<unknown>, read: (json: unknown) => T): Promise<[number, T]> {
  try {
    await call;
  } catch (error) {
    if (error instanceof made.ResponseError) return [error.response.status, read(await error.response.json())];
    throw error;
  }
  throw new Error("it was not refused");
}

async function gateway() {
  const auth = new made.AuthApi(bearing(asked.user_key));
  const key = await auth.createMyKey({ KeyCreate: { name: "generator", scopes: "gateway" } });
  const caller = new made.GatewayApi(bearing(key.key));
  const models = await caller.listModels();
  const ChatRequest = { model: "sandbox", messages: [{ role: made.ChatMessageRoleEnum.user, content: "Hello" }] };
  const answer = await caller.createChatCompletion({ ChatRequest });
  return { name: key.name, models: models.data.length, said: answer.choices[0]?.message.content };
}

async function traces() {
  const caller = new made.ObserveApi(bearing(asked.admin_key));
  for (const number of [0, 1, 2]) {
    const TraceCreate = { operation: "chat.completion", project: "generator", id: `generator-${number}` };
    await caller.createTrace({ TraceCreate });
  }
  const seen: string[] = [];
  let page: made.TraceList;
  let cursor: string | undefined;
  do {
    page = await caller.listTraces({ project: "generator", limit: 1, cursor });
    seen.push(...page.traces.map((trace) => trace.id));
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  return { total: page.total, seen };
}

async function desk(access: string) {
  const { access_token } = await new made.TokensApi(bearing(access)).exchangeCredential();
  const caller = new made.IncidentsApi(bearing(access_token));
  const opened = await caller.createIncident({ IncidentCreate: { short_description: "It is down" } });
  const read = await caller.getIncident({ id: opened.id });
  const change = { id: opened.id, IncidentUpdate: { state: made.IncidentUpdateStateEnum.in_progress } };
  const changed = await caller.updateIncident(change);
  const deleted = (await caller.deleteIncidentRaw({ id: opened.id })).raw.status;
  const [, gone] = await refusal(caller.getIncident({ id: opened.id }), made.StackflowErrorFromJSON);
  const same = read.updated_at.getTime() === opened.updated_at.getTime();
  return { same, state: changed.state, deleted, gone: gone.code };
}

async function fleet(access: string) {
  const orgs = new made.OrgsApi(bearing(access));
  const boxes = new made.BoxesApi(bearing(access));
  const org = await orgs.createOrg({ OrgCreate: { name: "Generator", slug: "generator" } });
  const BoxCreate = { name: "bench-1", ipAddress: "192.0.2.17" };
  const { box } = await boxes.createBox({ orgId: org.id, BoxCreate });
  const one = { orgId: org.id, boxId: box.id };
  const moved = await boxes.updateBox({ ...one, BoxUpdate: { ipAddress: "2001:db8::17" } });
  const ended = [(await boxes.deleteBoxRaw(one)).raw.status];
  const [, gone] = await refusal(boxes.getBox(one), made.StoutErrorFromJSON);
  ended.push((await orgs.deleteOrgRaw({ orgId: org.id })).raw.status);
  return { at: moved.ipAddress, ended, gone: gone.statusCode };
}

async function refused() {
  const caller = new made.GatewayApi(bearing("sy_" + "x".repeat(43)));
  const [status, told] = await refusal(caller.listModels(), made.GatewayErrorFromJSON);
  return { status, code: told.error.code };
}

const LogIn = { email: asked.email, password: asked.password };
const session = await new made.PeopleApi(stranger).logIn({ LogIn });
const told = {
  health: (await new made.SystemApi(stranger).getHealth()).status,
  gateway: await gateway(),
  traces: await traces(),
  desk: await desk(session.accessToken),
  fleet: await fleet(session.accessToken),
  refused: await refused(),
};
console.log(JSON.stringify(told));
