'use strict'
// What models bring beside their holdouts: bars by month with their intervals, segments, and whether it pays.
const money=(v,unit)=>v===null||v===undefined?'-':(v&&Math.abs(v)<.005?'under 0.01':num(v,Math.abs(v)>=100?0:2))+(unit?' '+unit:'')
const brings=o=>o.each===null?'-':o.low===null?num(o.each,2):`${o.each>0?'+':''}${num(o.each,2)} ± ${num((o.high-o.low)/2,2)}`
const BASIS={holdout:'beside its holdout',counted:'counted as if answers changed nothing but who acts',nothing:''}
const paid=v=>tag(v.split(',')[0],v.startsWith('pays')?'promote':v==='does not pay'?'refuse':'soft')
function gains(spans,unit){
 const shown=spans.filter(s=>s.each!==null);if(shown.length<2)return null
 const w=760,h=190,left=60,right=12,top=22,bottom=26,at=s=>s.low===null?[s.each]:[s.low,s.high,s.each],all=[0,...shown.flatMap(at)],lo=Math.min(...all),hi=Math.max(...all)
 const y=v=>top+(h-top-bottom)*(1-(v-lo)/((hi-lo)||1)),step=(w-left-right)/shown.length,wide=Math.min(step*.6,40),x=i=>left+step*(i+.5)
 const svg=svgEl('svg',{viewBox:`0 0 ${w} ${h}`,width:'100%',role:'img','aria-label':'What an answer brings, by time'})
 for(const t of ticks(lo,hi,4))svg.append(svgEl('line',{x1:left,x2:w-right,y1:y(t),y2:y(t),stroke:'var(--line)'}),svgEl('text',{x:left-6,y:y(t)+4,'text-anchor':'end'},value(t)))
 shown.forEach((s,i)=>{
  svg.append(svgEl('rect',{x:x(i)-wide/2,width:wide,y:y(Math.max(s.each,0)),height:Math.abs(y(s.each)-y(0)),fill:s.each<0?'var(--bad)':'var(--accent)',opacity:.55}))
  if(s.low!==null)svg.append(svgEl('line',{x1:x(i),x2:x(i),y1:y(s.low),y2:y(s.high),stroke:'currentColor','stroke-width':1.4}))
  if(i%Math.ceil(shown.length/12)===0)svg.append(svgEl('text',{x:x(i),y:h-8,'text-anchor':'middle'},s.span))})
 svg.append(svgEl('text',{x:left,y:12},`${unit} that an answer brings; line: 95 % interval`))
 return svg}
async function valueSection(model){
 const t=await get('/api/value',{model}),o=t.models[0]
 if(!o.unit||o.basis==='nothing')return null
 const held=o.basis==='holdout',few=t.segments.length>12?[...t.segments.slice(0,6),...t.segments.slice(-6)]:t.segments.length>1?t.segments:[]
 return section('What it brings',el('div',{className:'cards'},...[[money(o.earned,o.unit),'earned'],[brings(o),`${o.unit} an answer`],[money(o.cost,o.unit),'computing'],[paid(o.verdict),BASIS[o.basis]]].map(([n,s])=>el('div',{className:'card'},el('b',{},n),el('span',{},s)))),
  o.feedback?el('p',{className:'warning'},'Answers change what happens: mw.Payoff takes what was prevented for a false alarm. Count what came instead, by mw.Worth.'):null,
  gains(t.spans,o.unit),few.length?table(['segment','answers#',...(held?['held out#']:[]),'brings#','earned#','trained#','computing#',...(held?['surely']:[])],few.map(s=>[el('a',{href:'#'+encodeURIComponent(refOf(model,s.segment))},seg(s.segment)),num(s.rows),...(held?[num(s.held)]:[]),brings(s),money(s.earned),num(s.trainings),money(s.cost),...(held?[tag(s.surely,s.surely==='costs'?'refuse':'promote')]:[])])):null,
  few.length&&few.length<t.segments.length?el('p',{className:'soft'},`Those of ${num(t.segments.length)} segments that bring most and least.`):null)}
async function valueOverview(){
 const t=await get('/api/value'),some=t.models.filter(o=>o.basis!=='nothing'&&o.unit)
 if(!some.length)return null
 return section('What models bring',el('p',{className:'soft'},t.factory.earned.map(s=>`together ${money(s.earned,s.unit)}${s.low===null?'':` (${money(s.low)} to ${money(s.high)})`}`).join('; ')+`, computing ${money(t.factory.cost)}`),
  table(['model','by','answers#','brings#','earned#','computing#','pays'],some.map(o=>[el('a',{href:'#'+encodeURIComponent(o.model)},o.model),BASIS[o.basis],num(o.rows),brings(o),money(o.earned,o.unit),money(o.cost,o.unit),paid(o.verdict)])))}
