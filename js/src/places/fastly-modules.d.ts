declare module "fastly:secret-store" {
  export class SecretStore {
    /** Throws where no such store is linked. */
    constructor(name: string);
    get(key: string): Promise<{ plaintext(): string } | null>;
  }
}

declare module "fastly:config-store" {
  export class ConfigStore {
    /** Throws where no such store is linked. */
    constructor(name: string);
    get(key: string): string | null;
  }
}
