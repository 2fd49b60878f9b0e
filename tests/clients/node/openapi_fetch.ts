// What a program does with openapi-fetch and the types that openapi-typescript makes; prints what it saw, as JSON.
import createClient from "openapi-fetch";
import type { paths } from "./made/openapi_fetch/document.js";

interface Asked { base: string; admin_key: string; user_key: string; email: string; password: string }

const asked: Asked = JSON.parse(process.argv[2] ?? "{}");
const bearing = (key: string) =>
  createClient<paths>({ baseUrl: asked.base, headers: { Authorization: `Bearer ${key}` } });

/** What was answered, or the refusal as an exception. */
function got<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data === undefined) throw new Error(`${answer.response.status} ${JSON.stringify(answer.error)}`);
  return answer.data;
}

async function gateway() {
  const body = { name: "fetch", scopes: "gateway" };
  const made = got(await bearing(asked.user_key).POST("/api/auth/me/keys", { body }));
  const caller = bearing(made.key);
  const models = got(await caller.GET("/v1/models"));
  const chat = { model: "sandbox", messages: [{ role: "user" as const, content: "Hello" }] };
  const answer = got(await caller.POST("/v1/chat/completions", { body: chat }));
  if (typeof answer === "string") throw new Error("no stream was asked for");
  return { name: made.name, models: models.data.length, said: answer.choices[0]?.message.content };
}

async function traces() {
  const caller = bearing(asked.admin_key);
  for (const number of [0, 1, 2]) {
    const body = { operation: "chat.completion", project: "fetch", id: `fetch-${number}` };
    got(await caller.POST("/api/observe/traces", { body }));
  }
  const seen: string[] = [];
  let total = 0;
  let cursor: string | undefined;
  do {
    const query = { project: "fetch", limit: 1, cursor };
    const page = got(await caller.GET("/api/observe/traces", { params: { query } }));
    seen.push(...page.traces.map((trace) => trace.id));
    ({ total, next_cursor: cursor } = page);
  } while (cursor !== undefined);
  return { total, seen };
}

async function desk(access: string) {
  const caller = bearing(got(await bearing(access).POST("/prod/api/v1/auth/token")).access_token);
  const opened = got(await caller.POST("/prod/api/v1/incidents", { body: { short_description: "It is down" } }));
  const params = { path: { id: opened.id } };
  const one = "/prod/api/v1/incidents/{id}";
  const read = got(await caller.GET(one, { params }));
  const changed = got(await caller.PATCH(one, { params, body: { state: "in_progress" } }));
  const deleted = (await caller.DELETE(one, { params })).response.status;
  const gone = await caller.GET(one, { params });
  return { same: read.updated_at === opened.updated_at, state: changed.state, deleted, gone: gone.error?.code };
}

async function fleet(access: string) {
  const caller = bearing(access);
  const org = got(await caller.POST("/api/orgs", { body: { name: "Fetch", slug: "fetch" } }));
  const home = { path: { orgId: org.id } };
  const body = { name: "bench-1", ipAddress: "192.0.2.17" };
  const { box } = got(await caller.POST("/api/orgs/{orgId}/boxes", { params: home, body }));
  const params = { path: { orgId: org.id, boxId: box.id } };
  const one = "/api/orgs/{orgId}/boxes/{boxId}";
  const moved = got(await caller.PATCH(one, { params, body: { ipAddress: "2001:db8::17" } }));
  const ended = [(await caller.DELETE(one, { params })).response.status];
  const gone = await caller.GET(one, { params });
  ended.push((await caller.DELETE("/api/orgs/{orgId}", { params: home })).response.status);
  return { at: moved.ipAddress, ended, gone: gone.error?.statusCode };
}

async function refused() {
  const answer = await bearing("sy_" + "x".repeat(43)).GET("/v1/models");
  return { status: answer.response.status, code: answer.error?.error.code };
}

const stranger = createClient<paths>({ baseUrl: asked.base });
const session = got(await stranger.POST("/api/auth/login", { body: { email: asked.email, password: asked.password } }));
if (!("accessToken" in session)) throw new Error("there is no second factor");
const told = {
  health: got(await stranger.GET("/health")).status,
  gateway: await gateway(),
  traces: await traces(),
  desk: await desk(session.accessToken),
  fleet: await fleet(session.accessToken),
  refused: await refused(),
};
console.log(JSON.stringify(told));
