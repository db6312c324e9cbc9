/** Apps, each with one Machine and one Flycast address; and as many names of the outside world. */
export const APPS = 1000;
export const NETWORK = 0x8000_0018;
export const HOST = 0x00a7_007d;
/** Where the load comes from: the Machine of app1. */
export const CLIENT = "fdaa:8000:18:a7:7d:0:1:2";
