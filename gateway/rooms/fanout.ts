/** How rooms reach all of their members on this node at once. Types only. */

/** Hands a frame to everybody who listens to a topic on this node, in one call. A room is the topic of its messages. */
export type Fanout = (topic: string, frame: Uint8Array | string) => void;
