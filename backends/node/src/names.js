/** What the service and its model are called. */

export const SERVICE = 'node';
export const MODEL = 'echo-node';
