// A visitor's bookmark: after a request that wrote, this visitor's next reads see at least that write, on any node.
//
// 1. It is in an answer only if its request wrote, so that what only reads stays the same for all, and may be cached.
// 2. What a visitor sends is a claim: a text that can't be a bookmark is passed over, one of another database is not sent.

import { isBookmark } from "./database.js";
import { Session } from "./session.js";

/** How a visitor's bookmark travels; `false`: not at all. */
export type BookmarkBy = "cookie" | "header" | false;

export const COOKIE = "virke_bookmark";
export const HEADER = "virke-bookmark";
const MAX_AGE_S = 60;

/** The session of a request. `tenant` is the database where that depends on the request. */
export function arrive(headers: Headers, by: BookmarkBy, tenant: string | undefined): Session {
  const claimed = by === "cookie" ? cookieOf(headers.get("cookie") ?? "") : by === "header" ? headers.get(HEADER) : null;
  if (!claimed) return new Session();
  const at = claimed.indexOf(":");
  if (at >= 0 ? claimed.slice(0, at) !== tenant : tenant !== undefined) return new Session();
  const bookmark = claimed.slice(at + 1);
  return isBookmark(bookmark) ? new Session(bookmark, { isClaimed: true }) : new Session();
}

/** The header that the answer gets, if any. */
export function leave(session: Session, by: BookmarkBy, tenant: string | undefined): [name: string, value: string] | undefined {
  if (by === false || !session.wrote || session.bookmark === null) return undefined;
  const value = tenant === undefined ? session.bookmark : `${tenant}:${session.bookmark}`;
  if (by === "header") return [HEADER, value];
  return ["set-cookie", `${COOKIE}=${encodeURIComponent(value)}; Path=/; Max-Age=${MAX_AGE_S}; HttpOnly; SameSite=Lax`];
}

function cookieOf(cookies: string): string | null {
  for (const one of cookies.split(";")) {
    const [name, value] = one.trim().split("=", 2);
    if (name !== COOKIE || !value) continue;
    try {
      return decodeURIComponent(value);
    } catch {
      return null; // a visitor may send anything
    }
  }
  return null;
}
