// States in words: each has a text, never only a colour.
import type { CertificateRow, Lane, Link } from '../api/api';
import { bare, seen, shortSerial } from '../text';
import { localTime } from '../time';

export type Tone = 'green' | 'blue' | 'yellow' | 'orange' | 'red' | 'grey';

export const LANE_STATES: Record<Lane['state'], { text: string; tone: Tone; says: string }> = {
  good: { text: 'Good', tone: 'green', says: 'valid, and not yet due for renewal' },
  due: { text: 'Due', tone: 'blue', says: 'its renewal is expected now' },
  late: { text: 'Late', tone: 'orange', says: 'it should have been renewed by now' },
  contested: { text: 'Contested', tone: 'red', says: 'two tried to renew the same certificate: a copied key does so' },
  failing: { text: 'Failing', tone: 'red', says: 'renewals were tried and refused' },
  expired: { text: 'Expired', tone: 'grey', says: 'it ended without a replacement' },
  revoked: { text: 'Revoked', tone: 'red', says: 'revoked, and not replaced' },
};

export function certificateState(one: CertificateRow): { text: string; tone: Tone } {
  if (one.status === 'revoked') return { text: 'Revoked', tone: 'red' };
  if (one.status === 'expired') return { text: one.replaced_by ? 'Replaced, expired' : 'Expired', tone: 'grey' };
  if (one.replaced_by) return { text: 'Replaced', tone: 'blue' };
  if (one.is_overdue) return { text: 'Late', tone: 'orange' };
  return { text: 'Valid', tone: 'green' };
}

/** A bar read aloud. */
export function spoken(link: Link, node: string | null): string {
  const one = link.certificate;
  const parts = [
    `Certificate ${shortSerial(one.serial)}`,
    node === null ? 'without a node' : `of node ${seen(node)}`,
    certificateState(one).text.toLowerCase(),
    `valid from ${localTime(one.not_before)} to ${localTime(one.not_after)}`,
  ];
  if (one.replaced_at) parts.push(`replaced ${localTime(one.replaced_at)}`);
  if (one.revoked_at) parts.push(`revoked ${localTime(one.revoked_at)}, ${one.reason ?? ''}`);
  if (link.refusals.length) parts.push(`${link.refusals.length} refused requests about it`);
  if (link.contested) parts.push('somebody else tried to renew it after it had been renewed');
  if (link.unusual) parts.push(`got in an unusual way, for node ${seen(one.node ?? 'none')}`);
  return parts.join(', ');
}

export function nodeName(node: string | null): string {
  return node === null || node === '' ? 'no node' : node;
}

export function serviceName(name: string): string {
  return bare(name);
}
