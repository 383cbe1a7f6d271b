// The unmodified TypeScript SDKs of MCP against a running demo. usage: node typescript_sdk.mjs DEMO_JSON
//
// Without a token -> 401 -> discovery -> registration -> sign-in -> consent -> tool calls -> a tool beyond the token ->
// forced refresh. Prints a line for each thing that was proven and closes with `N passed, N failed`.

import { readFileSync } from 'node:fs';
import * as auth1 from '@modelcontextprotocol/sdk/client/auth.js';
import { Client as Client1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as Transport1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import * as sdk2 from '@modelcontextprotocol/client';
import { Person } from './browser.mjs';

const REDIRECT_URI = 'http://127.0.0.1:53682/callback'; // nothing listens: the browser stops before it

// In the first version a client asks for more scopes itself; in the second the transport does.
const SDKS = [
    { name: 'sdk 1.x', version: '2025-11-25', stepsUpItself: false, Client: Client1, Transport: Transport1, auth: auth1.auth },
    { name: 'client 2.x, legacy', version: '2025-11-25', stepsUpItself: true, mode: 'legacy' },
    { name: 'client 2.x, auto', version: '2026-07-28', stepsUpItself: true, mode: 'auto' },
].map((sdk) => ({ Client: sdk2.Client, Transport: sdk2.StreamableHTTPClientTransport, auth: sdk2.auth, ...sdk }));

/** Keeps tokens and the registration in memory, as an application's provider does. */
class Provider {
    redirectUrl = REDIRECT_URI;
    clientMetadata = {
        client_name: 'Interop (TypeScript SDK)',
        redirect_uris: [REDIRECT_URI],
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        token_endpoint_auth_method: 'none',
    };
    constructor(person) {
        this.person = person;
    }
    state = () => (this.expected = crypto.randomUUID());
    clientInformation = () => this.registered;
    saveClientInformation = (information) => void (this.registered = information);
    tokens = () => this.kept;
    saveTokens = (tokens) => void (this.kept = tokens);
    saveCodeVerifier = (verifier) => void (this.verifier = verifier);
    codeVerifier = () => this.verifier;
    discoveryState = () => this.discovered;
    saveDiscoveryState = (state) => void (this.discovered = state);
    redirectToAuthorization = async (url) => {
        this.answer = await this.person.authorize(url, REDIRECT_URI);
        if (this.answer.get('state') !== this.expected) throw new Error('the state came back changed');
    };
}

/** One installation of a client, and what went over the wire. */
class Caller {
    constructor(sdk, url, person) {
        Object.assign(this, { sdk, url: new URL(url), person, provider: new Provider(person), wire: [] });
    }

    fetch = async (url, init) => {
        const answer = await fetch(url, init);
        this.wire.push({ method: init?.method ?? 'GET', path: new URL(url).pathname, status: answer.status });
        return answer;
    };

    saw(method, path, status) {
        return this.wire.some((seen) => seen.method === method && seen.path.includes(path) && seen.status === status);
    }

    /** Connects; when the person was asked for more, takes the answer to the transport, as the SDK's guide tells. */
    async connected(story) {
        for (let attempt = 0; attempt < 2; attempt++) {
            const options = this.sdk.mode ? { versionNegotiation: { mode: this.sdk.mode } } : {};
            const client = new this.sdk.Client({ name: 'interop', version: '1' }, options);
            const transport = new this.sdk.Transport(this.url, { authProvider: this.provider, fetch: this.fetch });
            try {
                await client.connect(transport);
                return await story(client, transport);
            } catch (error) {
                if (!isUnauthorized(error) || attempt > 0) throw error;
                await this.finish(transport);
            } finally {
                await client.close();
            }
        }
    }

    finish(transport) {
        return this.sdk.mode ? transport.finishAuth(this.provider.answer) : transport.finishAuth(this.provider.answer.get('code'));
    }
}

/** As the applications decide it: by the error's class, wherever it hides. */
function isUnauthorized(error) {
    for (let cause = error; cause; cause = cause.cause) {
        if (cause instanceof auth1.UnauthorizedError || cause instanceof sdk2.UnauthorizedError) return true;
    }
    return false;
}

class Report {
    passed = 0;
    failed = 0;

    check(good, what, why = '') {
        good ? this.passed++ : this.failed++;
        console.log(`   ${good ? 'ok  ' : 'FAIL'} ${what}${!good && why ? `: ${why}` : ''}`);
    }

    async story(title, story, ...theArguments) {
        console.log(`   -- ${title}`);
        try {
            await story(this, ...theArguments);
        } catch (error) {
            this.check(false, title, error.stack ?? String(error));
        }
    }
}

/** Calls a tool by name, with something for each argument that it requires. */
async function call(client, name) {
    const { tools } = await client.listTools();
    const schema = tools.find((tool) => tool.name === name)?.inputSchema;
    if (!schema) throw new Error(`${name} is not among the listed tools ${tools.map((tool) => tool.name)}`);
    const values = { string: 'interop', integer: 1, number: 1, boolean: true, array: [], object: {} };
    const wanted = (schema.required ?? []).map((argument) => [argument, values[schema.properties[argument].type]]);
    return await client.callTool({ name, arguments: Object.fromEntries(wanted) });
}

const scopes = (tokens) => new Set(tokens.scope.split(' '));

async function firstContact(report, caller, tool) {
    const { person, provider, sdk } = caller;
    const [result, transport] = await caller.connected(async (client, transport) => [await call(client, tool), transport]);
    report.check(!result.isError, `${tool} answers`);
    report.check(transport.protocolVersion === sdk.version, `both speak ${sdk.version}`, transport.protocolVersion);
    report.check(caller.saw('POST', '/mcp/', 401), 'the first request is refused with 401');
    report.check(caller.saw('GET', '/.well-known/oauth-protected-resource', 200), "the server's metadata is found");
    report.check(caller.saw('GET', '/.well-known/oauth-authorization-server', 200), "the authority's metadata is found");
    report.check(caller.saw('POST', '/register', 201), 'the client registers');
    report.check(person.signIns === 1 && person.approvals === 1, 'the person signs in and approves once');
    report.check(provider.answer.get('iss') !== null, 'the authorization response names its issuer');
    report.check(Boolean(provider.kept.refresh_token), 'there is a refresh token');
}

async function stepUp(report, caller, tool) {
    const { person, provider, sdk } = caller;
    const [approvals, before] = [person.approvals, scopes(provider.kept)];
    caller.wire.length = 0;
    let result;
    if (sdk.stepsUpItself) {
        result = await caller.connected((client) => call(client, tool));
    } else {
        const needed = await refusedScopes(caller, tool);
        provider.kept = undefined; // or this version would refresh, which never adds a scope
        const scope = [...before, ...needed].join(' ');
        await sdk.auth(provider, { serverUrl: caller.url, scope, fetchFn: caller.fetch });
        await sdk.auth(provider, { serverUrl: caller.url, authorizationCode: provider.answer.get('code'), fetchFn: caller.fetch });
        result = await caller.connected((client) => call(client, tool));
    }
    const after = scopes(provider.kept);
    report.check(!result.isError, `${tool} answers`);
    report.check(caller.saw('POST', '/mcp/', 403), 'the call is first refused with 403');
    report.check(person.approvals === approvals + 1, 'the person approves once more', `${person.approvals - approvals} times`);
    const grew = after.size > before.size && [...before].every((scope) => after.has(scope));
    report.check(grew, 'the token covers more than before', `${[...before]} -> ${[...after]}`);
}

/** The scopes that the refusal of a call names. */
async function refusedScopes(caller, tool) {
    let challenge;
    const { fetch } = caller;
    caller.fetch = async (url, init) => {
        const answer = await fetch(url, init);
        if (answer.status === 403) challenge = auth1.extractWWWAuthenticateParams(answer);
        return answer;
    };
    const refused = await caller.connected((client) => call(client, tool)).then(() => false, () => true);
    caller.fetch = fetch;
    if (!refused || challenge?.error !== 'insufficient_scope') throw new Error(`${tool} was not refused for its scope`);
    return challenge.scope.split(' ');
}

async function forcedRefresh(report, caller, tool) {
    const { person, provider } = caller;
    const [approvals, before] = [person.approvals, provider.kept];
    caller.wire.length = 0;
    const result = await caller.connected(async (client) => {
        await call(client, tool);
        provider.kept = { ...provider.kept, access_token: 'not-a-token' }; // as one that the server no longer takes
        return await call(client, tool);
    });
    const after = provider.kept;
    report.check(!result.isError, `${tool} answers after the token was renewed`);
    report.check(caller.saw('POST', '/mcp/', 401), 'the dead token is refused with 401');
    report.check(caller.saw('POST', '/token', 200), 'the token endpoint is asked');
    report.check(after.refresh_token && after.refresh_token !== before.refresh_token, 'the refresh token is a new one');
    report.check(after.access_token !== before.access_token, 'the access token is a new one');
    report.check(person.approvals === approvals, 'nobody is asked');
}

async function main(demo) {
    const report = new Report();
    const urls = Object.fromEntries(demo.servers.map((server) => [server.name, server.url]));
    for (const sdk of SDKS) {
        console.log(`   == ${sdk.version} (${sdk.name})`);
        const notes = new Caller(sdk, urls.notes, new Person(demo.user));
        await report.story('notes: first contact', firstContact, notes, 'list_notes');
        await report.story('notes: a tool beyond the token', stepUp, notes, 'create_note');
        await report.story('notes: forced refresh', forcedRefresh, notes, 'list_notes');
        const ops = new Caller(sdk, urls.ops, new Person(demo.user));
        await report.story('ops: first contact', firstContact, ops, 'uptime');
    }
    console.log(`${report.passed} passed, ${report.failed} failed`);
    return report.failed ? 1 : 0;
}

process.exit(await main(JSON.parse(readFileSync(process.argv[2], 'utf-8'))));
