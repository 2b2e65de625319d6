// What one visitor, or one program, has seen of a database: no read of theirs is older than that.

/** How old the first read may be, of a session that has seen nothing. */
export type Start = "strong" | undefined;

export class Session {
  /** The newest state that was seen. */
  bookmark: string | null;
  /** Whether something was written. */
  wrote = false;
  /** The bookmark came from outside and no answer has confirmed it: it may be of another database, or made up. */
  isClaimed: boolean;
  #start: Start;

  constructor(bookmark: string | null = null, { isClaimed = false, start }: { isClaimed?: boolean; start?: Start } = {}) {
    this.bookmark = bookmark;
    this.isClaimed = isClaimed && bookmark !== null;
    this.#start = start;
  }

  /** The headers that a read sends. */
  get headers(): Record<string, string> {
    if (this.bookmark !== null) return { "virke-bookmark": this.bookmark };
    return this.#start ? { "virke-consistency": this.#start } : {};
  }

  /** An answer came that stands for this state. */
  saw(bookmark: string, wrote: boolean): void {
    if (wrote) this.wrote = true;
    if (this.isClaimed || this.bookmark === null || !isOlder(bookmark, this.bookmark)) this.bookmark = bookmark;
    this.isClaimed = false;
  }

  /** The bookmark from outside was refused. */
  forget(): void {
    this.bookmark = null;
    this.isClaimed = false;
  }
}

/** Whether a bookmark comes before another of the same branch; they are sortable. */
function isOlder(one: string, other: string): boolean {
  return one.split(".")[0] === other.split(".")[0] && one < other;
}
