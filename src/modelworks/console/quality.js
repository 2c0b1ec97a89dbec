'use strict'
// Live quality: loss and volume by day beside what was expected, and what the inputs of champions have done.
function chart(days){
 if(days.length<2)return el('p',{className:'soft'},'A chart appears after two days.')
 const w=760,h=210,left=52,right=12,top=24,bottom=26,hoped=d=>d.expected_loss!==null&&d.expected_loss_error!==null
 const low=d=>d.expected_loss-2*d.expected_loss_error,high=d=>d.expected_loss+2*d.expected_loss_error
 const lines=days.flatMap(d=>[d.loss,d.expected_loss]).filter(v=>v!==null),told=days.some(hoped),most=Math.max(...days.map(d=>d.rows),1)
 // No loss of ours is below 0 where none was measured there; a day of few answers must not flatten all the others.
 const floor=Math.min(0,...lines),top_=Math.max(...lines,0),roof=Math.min(Math.max(top_,...days.filter(hoped).map(high)),top_*1.6)||1
 const x=i=>left+(w-left-right)*(i+.5)/days.length,clip=v=>Math.min(Math.max(v,floor),roof),y=v=>top+(h-top-bottom)*(1-(clip(v)-floor)/(roof-floor))
 const svg=svgEl('svg',{viewBox:`0 0 ${w} ${h}`,width:'100%',role:'img','aria-label':'Loss and volume by day'}),bar=Math.min((w-left-right)/days.length*.7,40)
 days.forEach((d,i)=>{const tall=(h-top-bottom)*.3*d.rows/most,r=svgEl('rect',{x:x(i)-bar/2,width:bar,y:h-bottom-tall,height:tall,fill:'currentColor',opacity:.13})
  r.append(svgEl('title',{},`${d.day.slice(0,10)}: ${num(d.rows)} predictions, ${num(d.labelled)} with an outcome, loss ${score(d.loss)}${hoped(d)?`, expected ${score(d.expected_loss)} ± ${score(2*d.expected_loss_error)}`:''}`));svg.append(r)})
 if(lines.length){
  for(const t of ticks(floor,roof,4))svg.append(svgEl('line',{x1:left,x2:w-right,y1:y(t),y2:y(t),stroke:'var(--line)'}),svgEl('text',{x:left-6,y:y(t)+4,'text-anchor':'end'},value(t)))
  const ok=days.map((d,i)=>[d,i]).filter(([d])=>hoped(d))
  if(ok.length>1)svg.append(svgEl('polygon',{fill:'var(--accent)','fill-opacity':.15,points:[...ok.map(([d,i])=>`${x(i)},${y(high(d))}`),...ok.reverse().map(([d,i])=>`${x(i)},${y(low(d))}`)].join(' ')}))
  svg.append(svgEl('polyline',{fill:'none',stroke:'var(--accent)','stroke-width':2,'stroke-linejoin':'round',points:days.map((d,i)=>d.loss===null?null:`${x(i)},${y(d.loss)}`).filter(Boolean).join(' ')}))}
 days.forEach((d,i)=>{if(i%Math.ceil(days.length/8)===0)svg.append(svgEl('text',{x:x(i),y:h-8,'text-anchor':'middle'},d.day.slice(0,10)))})
 svg.append(svgEl('text',{x:left,y:13},`line: loss; ${told?'band: loss as it was expected; ':''}bars: predictions, up to ${num(most)} a day`))
 return svg}
async function trend(model,segment){const m=await get('/api/monitor',{model,segment,days:365});return section('Live quality',chart(m.days))}
const FEW=10
async function driftSection(model,segment){
 const m=await get('/api/monitor',{model,segment}),than={training:'their training',trailing:'what was answered on the days before',seasonal:'what was answered a year before'}[m.reference]
 const found=m.champions.filter(c=>c.shifted.length),effect=e=>e===undefined||e===null?'':e?` (${e>0?'+':''}${e.toPrecision(2)})`:' (±0)'
 if(!found.length)return null
 return section('Inputs that have shifted',el('p',{className:'soft'},`In the last four weeks, compared with ${than}; in parentheses by how much that moves the mean answer.`),
  table(['segment','version#','answers#','loss#','at validation#','inputs'],found.slice(0,FEW).map(c=>[el('a',{href:'#'+encodeURIComponent(refOf(model,c.segment))},seg(c.segment)),c.version,num(c.rows),score(c.loss),score(c.promised),c.shifted.map(n=>n+effect(c.effects[n])).join(', ')])),
  found.length>FEW?el('p',{className:'soft'},`Those ${FEW} of ${num(found.length)} champions with the most answers.`):null)}
