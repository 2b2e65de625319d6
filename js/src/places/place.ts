// Where a program runs: how it reads settings, reaches the node, and gets its visitors' requests.

export type Setting = "VIRKE_URL" | "VIRKE_TOKEN" | "VIRKE_DB";
export type Answering = (request: Request, ...more: unknown[]) => Promise<Response>;

export interface ServeOptions {
  /** Node: the port, else `PORT`, else 3000. */
  port?: number;
  /** Node: the address to listen on; all of them if it is not given. */
  hostname?: string;
}

export interface Place {
  /** A setting of the environment; undefined if there is none. */
  setting(name: Setting): string | undefined | Promise<string | undefined>;
  /** `fetch`, to the node, which may take so long. */
  send(url: string, init: RequestInit, timeoutMs: number): Promise<Response>;
  /** Answer all requests from now on. */
  serve(answer: Answering, options: ServeOptions): void;
}
