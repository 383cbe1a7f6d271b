// A server made with the unmodified TypeScript SDK that answers anything and notes what it was asked; see server.py.
// usage: node server.mjs 1|2 http|stdio LOG

import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';

const [major, mode, log] = process.argv.slice(2);
const note = (what) => appendFileSync(log, JSON.stringify(what) + '\n');

const answers = {
    'tools/list': { tools: [{ name: 'list_notes', inputSchema: { type: 'object' } }] },
    'tools/call': { content: [{ type: 'text', text: 'done' }] },
    'prompts/list': { prompts: [{ name: 'greet' }] },
    'prompts/get': { messages: [] },
    'resources/list': { resources: [] },
    'resources/read': { contents: [] },
    ping: {},
};
const capabilities = { tools: {}, prompts: {}, resources: {} };
const info = { name: 'corpus', version: '1' };

const handle = (method) => (request, extra) => {
    // The first version hands out the id as `requestId`, the second inside `mcpReq`.
    const id = extra.requestId ?? extra.mcpReq?.id ?? null;
    const key = { 'tools/call': 'name', 'prompts/get': 'name', 'resources/read': 'uri' }[method];
    note({ method: request.method ?? method, target: key ? request.params[key] : null, id });
    return answers[method];
};

async function first() {
    const types = await import('@modelcontextprotocol/sdk/types.js');
    const { Server } = await import('@modelcontextprotocol/sdk/server/index.js');
    const schemas = {
        'tools/list': types.ListToolsRequestSchema,
        'tools/call': types.CallToolRequestSchema,
        'prompts/list': types.ListPromptsRequestSchema,
        'prompts/get': types.GetPromptRequestSchema,
        'resources/list': types.ListResourcesRequestSchema,
        'resources/read': types.ReadResourceRequestSchema,
        ping: types.PingRequestSchema,
    };
    const make = () => {
        const server = new Server(info, { capabilities });
        for (const [method, schema] of Object.entries(schemas)) server.setRequestHandler(schema, handle(method));
        return server;
    };
    if (mode === 'stdio') {
        const { StdioServerTransport } = await import('@modelcontextprotocol/sdk/server/stdio.js');
        await make().connect(new StdioServerTransport());
        return;
    }
    const { StreamableHTTPServerTransport } = await import('@modelcontextprotocol/sdk/server/streamableHttp.js');
    listen(async (request, response) => {
        const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined, enableJsonResponse: true });
        const server = make();
        response.on('close', () => void server.close());
        await server.connect(transport);
        await transport.handleRequest(request, response);
    });
}

async function second() {
    const { Server, createMcpHandler } = await import('@modelcontextprotocol/server');
    const make = () => {
        const server = new Server(info, { capabilities });
        for (const method of Object.keys(answers)) server.setRequestHandler(method, handle(method));
        return server;
    };
    if (mode === 'stdio') {
        const { serveStdio } = await import('@modelcontextprotocol/server/stdio');
        serveStdio(make);
        return;
    }
    const { toNodeHandler } = await import('@modelcontextprotocol/node');
    listen(toNodeHandler(createMcpHandler(make)));
}

function listen(serve) {
    const http = createServer((request, response) => {
        Promise.resolve(serve(request, response)).catch((error) => {
            console.error(error);
            if (!response.headersSent) response.writeHead(500);
            response.end();
        });
    });
    http.listen(0, '127.0.0.1', () => note({ port: http.address().port }));
}

await (major === '1' ? first() : second());
