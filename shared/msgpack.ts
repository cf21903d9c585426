/** MessagePack: the one importer of the library for it. It runs in browsers. The core of the client library never needs it. */
export { decode as decodeMsgpack, Encoder as MsgpackEncoder } from '@msgpack/msgpack';
