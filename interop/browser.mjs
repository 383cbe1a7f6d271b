// A person with a browser, as far as sign-in and consent need one; see browser.py.

const REDIRECTS = [301, 302, 303, 307, 308];

/** Signs in with one account and approves what is asked. */
export class Person {
    constructor(account) {
        this.account = account;
        this.cookies = new Map();
        this.signIns = this.approvals = 0;
    }

    /** Goes from the authorization address to the client's redirect address; returns what the latter is told. */
    async authorize(url, redirectUri) {
        let page = await this.visit(new URL(url));
        for (let step = 0; step < 12; step++) {
            if (REDIRECTS.includes(page.status)) {
                const target = new URL(page.location, page.url);
                if (target.href.split('?')[0] === redirectUri) return target.searchParams;
                page = await this.visit(target);
            } else if (page.status === 200) {
                page = await this.submit(page);
            } else {
                throw new Error(`${page.url.pathname} answered ${page.status} to the browser`);
            }
        }
        throw new Error('sign-in and consent did not come to an end');
    }

    submit(page) {
        const forms = [...page.text.matchAll(/<form\b([^>]*)>(.*?)<\/form>/gs)].map((form) => new Form(form[1], form[2]));
        const signIn = forms.find((form) => form.fields.has('password'));
        if (signIn) {
            this.signIns++;
            return this.send(page, signIn, this.account);
        }
        const consent = forms.find((form) => form.buttons.includes('approve'));
        if (!consent) throw new Error(`${page.url.pathname} is neither the sign-in nor the consent page`);
        this.approvals++;
        return this.send(page, consent, { decision: 'approve' });
    }

    send(page, form, filled) {
        for (const [name, value] of Object.entries(filled)) form.fields.set(name, value);
        return this.visit(new URL(form.action, page.url), {
            method: 'POST',
            body: form.fields,
            headers: { Origin: page.url.origin, Referer: page.url.href },
        });
    }

    async visit(url, init = {}) {
        const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
        const headers = { ...init.headers, ...(cookie && { Cookie: cookie }) };
        const answer = await fetch(url, { ...init, headers, redirect: 'manual' });
        for (const set of answer.headers.getSetCookie()) {
            const [, name, value] = /^([^=]+)=([^;]*)/.exec(set);
            this.cookies.set(name, value);
        }
        return { url, status: answer.status, location: answer.headers.get('location'), text: await answer.text() };
    }
}

class Form {
    constructor(attributes, inside) {
        this.action = attribute(attributes, 'action') ?? '';
        this.fields = new URLSearchParams();
        this.buttons = [];
        for (const [, tag, written] of inside.matchAll(/<(input|button)\b([^>]*)>/g)) {
            const [name, value] = [attribute(written, 'name'), attribute(written, 'value') ?? ''];
            const kind = attribute(written, 'type') ?? (tag === 'button' ? 'submit' : 'text');
            if (kind === 'submit') this.buttons.push(value);
            else if (name && (kind !== 'checkbox' || /\schecked\b/.test(written))) this.fields.append(name, value);
        }
    }
}

function attribute(written, name) {
    const found = new RegExp(`\\s${name}="([^"]*)"`).exec(written)?.[1];
    const named = { amp: '&', lt: '<', gt: '>', quot: '"' };
    return found?.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(amp|lt|gt|quot));/gi, (_, hex, decimal, word) =>
        word ? named[word.toLowerCase()] : String.fromCodePoint(hex ? parseInt(hex, 16) : Number(decimal)),
    );
}
