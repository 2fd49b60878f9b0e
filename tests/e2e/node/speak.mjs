// One scenario with an official SDK, told as JSON on standard output: node speak.mjs '{"scenario": "...", ...}'

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const { scenario, base, key, model } = JSON.parse(process.argv[2]);
const turn = [{ role: "user", content: "When?" }];
const schema = { type: "object", properties: { city: { type: "string" } } };
const options = { apiKey: key, maxRetries: 0 };

const anthropic = () => new Anthropic({ ...options, baseURL: base });
const openai = () => new OpenAI({ ...options, baseURL: `${base}/v1` });
const message = (fields = {}) => ({ model, max_tokens: 100, messages: turn, ...fields });

const scenarios = {
  async "messages plain"() {
    const made = await anthropic().messages.create(message());
    return { text: made.content[0].text, stop: made.stop_reason, usage: made.usage, id: made._request_id };
  },
  async "messages stream"() {
    const stream = anthropic().messages.stream(message());
    let text = "";
    stream.on("text", (piece) => (text += piece));
    const made = await stream.finalMessage();
    return { text, whole: made.content[0].text, stop: made.stop_reason, usage: made.usage };
  },
  async "messages tools"() {
    const tools = [{ name: "weather", input_schema: schema }];
    const first = await anthropic().messages.stream(message({ tools })).finalMessage();
    const results = first.content.map(({ id }) => ({ type: "tool_result", tool_use_id: id, content: "rain" }));
    const messages = [...turn, { role: "assistant", content: first.content }, { role: "user", content: results }];
    const second = await anthropic().messages.create(message({ tools, messages }));
    return { inputs: first.content.map(({ input }) => input), stop: first.stop_reason, text: second.content[0].text };
  },
  async "messages broken"() {
    const stream = await anthropic().messages.create(message({ stream: true }));
    for await (const event of stream) void event;
  },
  async "messages refused"() {
    await anthropic().messages.create(message());
  },
  async "responses plain"() {
    const made = await openai().responses.create({ model, input: "When?" });
    return { text: made.output_text, status: made.status, usage: made.usage, id: made._request_id };
  },
  async "responses stream"() {
    const stream = openai().responses.stream({ model, input: "When?" });
    let text = "";
    stream.on("response.output_text.delta", ({ delta }) => (text += delta));
    const made = await stream.finalResponse();
    return { text, whole: made.output_text, status: made.status, usage: made.usage };
  },
  async "responses tools"() {
    const tools = [{ type: "function", name: "weather", parameters: schema, strict: false }];
    const first = await openai().responses.stream({ model, input: "When?", tools }).finalResponse();
    const calls = first.output.map(({ parsed_arguments: _, ...item }) => item);
    const results = calls.map(({ call_id }) => ({ type: "function_call_output", call_id, output: "rain" }));
    const second = await openai().responses.create({ model, tools, input: [...turn, ...calls, ...results] });
    return { inputs: calls.map((call) => JSON.parse(call.arguments)), stop: "tool_use", text: second.output_text };
  },
  async "responses broken"() {
    const stream = await openai().responses.create({ model, input: "When?", stream: true });
    for await (const event of stream) void event;
  },
  async "responses refused"() {
    await openai().responses.create({ model, input: "When?" });
  },
  async "chat plain"() {
    const made = await openai().chat.completions.create({ model, messages: turn });
    return { text: made.choices[0].message.content, stop: made.choices[0].finish_reason, usage: made.usage };
  },
  async "chat stream"() {
    const stream = openai().chat.completions.stream({ model, messages: turn });
    let text = "";
    stream.on("content", (piece) => (text += piece));
    const made = await stream.finalChatCompletion();
    return { text, whole: made.choices[0].message.content, stop: made.choices[0].finish_reason };
  },
  async "chat broken"() {
    const stream = await openai().chat.completions.create({ model, messages: turn, stream: true });
    for await (const chunk of stream) void chunk;
  },
  async "chat refused"() {
    await openai().chat.completions.create({ model, messages: turn });
  },
};

try {
  console.log(JSON.stringify({ made: await scenarios[scenario]() }));
} catch (error) {
  const { status, message: said, requestID } = error;
  console.log(JSON.stringify({ error: error.constructor.name, status, message: said, id: requestID }));
}
