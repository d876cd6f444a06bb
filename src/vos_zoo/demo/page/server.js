// Requests of this tab to the server that the page came from.

export class Server {
  // Begin: this tab's work goes on when the page is reloaded; any other page starts its own.
  async start() {
    const kept = sessionStorage.getItem("tab");
    const reloaded = performance.getEntriesByType("navigation")[0]?.type === "reload";
    this.tab = reloaded ? kept : null;
    const answer = await this.ask("/api/tabs", { method: "POST", body: JSON.stringify({ tab: this.tab }) });
    this.tab = answer.tab;
    sessionStorage.setItem("tab", answer.tab);
    return answer;
  }

  address(path) {
    return `/api/tabs/${this.tab}/${path}`;
  }

  state() {
    return this.ask(`/api/tabs/${this.tab}`);
  }

  act(name, body) {
    return this.ask(this.address(name), { method: "POST", body: JSON.stringify(body) });
  }

  send(path, file) {
    return this.ask(`${this.address(path)}?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
  }

  download(name) {
    const link = Object.assign(document.createElement("a"), { href: this.address(`files/${encodeURIComponent(name)}`) });
    link.download = name;
    link.click();
  }

  async ask(address, options = {}) {
    let response;
    try {
      response = await fetch(address, options);
    } catch {
      throw new Error("the server does not answer; is vos-zoo demo still running?");
    }
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    return answer;
  }

  // The picture at an address; null: there is none.
  async picture(path) {
    const response = await fetch(this.address(path));
    if (!response.ok) throw new Error((await response.json()).error);
    return response.status === 204 ? null : createImageBitmap(await response.blob());
  }
}
