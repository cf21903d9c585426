/**
 * A client of the library in one room, as an application has it: what it was told, every gap, and whatever it did that it must not.
 */
import { connect, type Gap } from '../../shared/client/client.ts';
import { onCleanup } from '../support/cleanup.ts';
import { Sockets } from '../verify/library/sockets.ts';

export class LibraryMember {
  readonly faults: string[] = [];
  readonly told: unknown[] = [];
  readonly gaps: Gap[] = [];
  readonly sockets = new Sockets({ misbehaved: (what) => this.faults.push(what), asked: () => undefined });
  readonly room;

  constructor(url: string, token: string, room: string) {
    const client = connect(url, { token, WebSocket: this.sockets.WebSocket });
    onCleanup(() => client.close());
    this.room = client.room(room);
    this.room.on('message', ({ data }) => this.told.push(data));
    this.room.on('gap', (gap) => this.gaps.push(gap));
    this.room.subscribe().catch((error: Error) => this.faults.push(error.message));
  }

  get isIn(): boolean {
    return this.room.state === 'joined' && this.sockets.open === 1;
  }
}
