/** The OpenAPI 3.1 document of the HTTP API, made from its routes and their schemas. Pure functions. */
import { z } from 'zod';
import { problemContentType, problems } from '../problem.ts';
import { type Route, statusesOf } from './route.ts';

type Json = Record<string, unknown>;

export function openApiText(routes: readonly Route[], version: string): string {
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    const { method, path } = route;
    paths[path] = { ...paths[path], [method.toLowerCase()]: operation(route) };
  }
  return JSON.stringify({
    openapi: '3.1.0',
    info: {
      title: 'Roomcast',
      version,
      summary: 'The HTTP API of a node, on its admin port.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    security: [{ bearer: [] }, { header: [] }],
    paths,
    components: {
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'One of GATEWAY_API_KEY.' },
        header: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'One of GATEWAY_API_KEY.' },
      },
      schemas: { Problem: problemSchema },
    },
  });
}

function operation(route: Route): Json {
  const { name, summary, open, params, query, body, answer } = route;
  return {
    operationId: name,
    summary,
    ...(open ? { security: [] } : {}),
    parameters: [...parameters(params, 'path'), ...parameters(query, 'query')],
    ...(body === undefined
      ? {}
      : { requestBody: { required: body.optional !== true, content: json(schemaOf(body.schema)) } }),
    responses: Object.fromEntries(statusesOf(route).map((status) => [status, response(status, answer)])),
  };
}

const doneTexts: Record<number, string> = {
  200: 'Done.',
  202: 'Done by the nodes that answered in time; `missing` names the others. Ask again in a few seconds.',
};

function response(status: number, answer: z.ZodType): Json {
  const description = doneTexts[status];
  return description === undefined ? problem(status) : { description, content: json(schemaOf(answer)) };
}

function parameters(schema: z.ZodObject, place: 'path' | 'query'): Json[] {
  const { properties = {} } = schemaOf(schema) as { properties?: Record<string, Json> };
  return Object.entries(properties).map(([name, { description, ...rest }]) => ({
    ...{ name, in: place, required: place === 'path', schema: rest },
    ...(description === undefined ? {} : { description }),
  }));
}

function json(schema: Json): Json {
  return { 'application/json': { schema } };
}

/** What a value is after it was checked: a number, where a query has its digits. */
function schemaOf(schema: z.ZodType): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'output' });
  return rest;
}

const headers: Record<number, Json> = {
  401: { 'WWW-Authenticate': { schema: { type: 'string' } } },
  503: { 'Retry-After': { description: 'Seconds.', schema: { type: 'integer' } } },
};

function problem(status: number): Json {
  const title = status === 408 ? 'The body did not come in time' : titleOf(status);
  return {
    description: `${title}.`,
    ...(headers[status] === undefined ? {} : { headers: headers[status] }),
    content: { [problemContentType]: { schema: { $ref: '#/components/schemas/Problem' } } },
  };
}

function titleOf(status: number): string {
  return Object.values(problems).find(([each]) => each === status)?.[1] ?? 'A problem';
}

/** RFC 9457. */
const problemSchema = {
  type: 'object',
  description: 'RFC 9457. The last segment of `type` is a code of the wire protocol, or `not_found`.',
  required: ['type', 'title', 'status', 'detail'],
  properties: {
    type: { type: 'string', format: 'uri', examples: ['https://roomcast.dev/problems/bad_request'] },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string', description: 'What to do.' },
    errors: {
      type: 'array',
      description: 'The fields that are wrong.',
      items: {
        type: 'object',
        required: ['path', 'message'],
        properties: { path: { type: 'string' }, message: { type: 'string' } },
      },
    },
  },
};
